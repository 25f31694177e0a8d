"""The same gamma every round: the control arm of every comparison, and with gamma 0 plain decoding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from paceline.core.base_policy import BasePolicy
from paceline.core.config.blocks import PolicyConfig
from paceline.core.records import Plan, Requirements
from paceline.core.state.declared import PolicyState
from paceline.policies.options import DraftName, chosen_draft

if TYPE_CHECKING:
    from paceline.core.records import RoundStart


class StaticConfig(PolicyConfig):
    """Draft the same number of tokens every round."""

    name: Literal["static"] = "static"
    gamma: int = Field(default=4, ge=0, description="Draft tokens per round; 0 is plain decoding.")
    draft: DraftName = None

    def build(self, seed: int = 0) -> StaticPolicy:
        """Return a fresh policy."""
        return StaticPolicy(self)


class StaticPolicy(BasePolicy[PolicyState]):
    """Plans min(gamma, budget); on an engine with a fixed set, the largest gamma of it that is not above that."""

    def __init__(self, config: StaticConfig) -> None:
        super().__init__("static", PolicyState())
        self._gamma = config.gamma
        self._draft = config.draft
        self.requires = Requirements(zero_gamma=config.gamma == 0)

    def plan(self, start: RoundStart) -> Plan:
        """Choose the same gamma as always."""
        gamma = start.gammas(self._gamma)[-1]
        return Plan(gamma, chosen_draft(start, self._draft) if gamma else None)
