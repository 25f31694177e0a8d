"""Policies that engines are tried with, as blocks that a run file may name."""

from typing import Literal

from pydantic import Field

from paceline import PolicyConfig, hookimpl
from paceline.testing import ChaoticPolicy, LawlessPolicy, ScriptedPolicy


class TrialScript(PolicyConfig):
    """Follow a list of gammas."""

    name: Literal["trial-script"] = "trial-script"
    gammas: tuple[int, ...] = Field(default=(4, 1, 0, 2, 3), description="One a step, again and again.")

    def build(self, seed=0):
        return ScriptedPolicy(list(self.gammas))


class TrialChaos(PolicyConfig):
    """Plan anything."""

    name: Literal["trial-chaos"] = "trial-chaos"

    def build(self, seed=0):
        return ChaoticPolicy(seed, drafts=("vllm",), max_gamma=4)


class TrialBreach(PolicyConfig):
    """Break the contract after some rounds."""

    name: Literal["trial-breach"] = "trial-breach"
    breach: str = Field(default="raise-in-plan", description="How.")
    after: int = Field(default=5, description="Lawful rounds before.")

    def build(self, seed=0):
        return LawlessPolicy(self.breach, after=self.after)


@hookimpl
def register_policies():
    return [TrialScript, TrialChaos, TrialBreach]
