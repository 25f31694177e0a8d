"""A bandit over policies, stop rules above all: each round the arm is played that may be the fastest.

Each arm is a policy of its own. Before a round the bandit chooses one, which plans the round and decides after each
draft token whether to go on. The choice is UCB1,

    argmax  x_i + c sqrt(log(N + 1) / n_i),        n_i rounds of arm i, N of all.

With `reward: throughput`, x_i is tokens over seconds of the arm, both summed, divided by those of the best arm. With
`reward: blended` it is the mean over its rounds of

    a m / gamma_max + (1 - a) m / drafted,

m being the tokens accepted: long proposals and accurate ones are rewarded, and their price in time is not.

TapOut (2025, https://arxiv.org/abs/2511.02017) chooses with UCB1 among rules that need no training, at fixed
thresholds, once a round (its "sequence level"), and blends accepted length with the rate of acceptance. Our reading:
the form of the blend and a = 1/2. Its c is sqrt(2). Ours: the reward by throughput, which is the default because a rule
that is twice as accurate may still be slower; any policy as an arm; c = 0.2, for differences between good rules are
a few percent; N + 1. Rounds that were ended, or that first read a long lag, are left out (see `is_rate_sample`).

All arms observe all rounds unless `share` is off. What do the built-in policies make of a round they did not plan?

- Rules at fixed thresholds and `static` learn nothing from any round.
- Estimates of acceptance (`online`, `survival`, `thompson`, `confidence` while it adapts) take it as evidence, for a
  verdict is one whoever planned the proposal. Other arms' stop rules end proposals behind doubtful tokens, so where
  doubt comes in runs, what was judged is a little better than average.
- `ucb`, `d-ucb` and `q-learning` take it as evidence about its gamma, if that is one of theirs and no rule of the plan
  could stop it earlier. `tapout` itself knows its plans by their reason, and credits nothing else to its arms.
- Rules that steer by outcomes (`aimd`, `fsm`, `gammatune`, `ema-tier`, `adaedl` with a step) and policies that measure
  how they do themselves (`gate`, `metasd`, `linear-select`) take it for one of their own: a short proposal of
  another arm that was accepted raises their gamma. With such arms, switch `share` off.

What the arms listen to is required of the drafts together: a draft that cannot deliver the signals of one arm is
refused before the first token.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, FiniteFloat

from paceline.core.base_policy import MergeablePolicy
from paceline.core.config.blocks import PolicyConfig
from paceline.core.config.resolve import AnyPolicy
from paceline.core.guards.policy import ask_keep_drafting, needs_of
from paceline.core.plugins.catalogue import build_policy
from paceline.core.state.declared import Fixed, PolicyState, Summed
from paceline.policies.baselines.gamma_arms import most_promising
from paceline.policies.composition import joint_needs, joint_requirements, seed_of, tag_plan, untag_round
from paceline.policies.options import LARGEST_GAMMA
from paceline.policies.throughput import ArmStatistics, is_rate_sample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.core.protocols import Policy
    from paceline.core.records import Plan, Round, RoundStart, TokenSignals

RULES: tuple[Any, ...] = (  # by name, as a run file would give them
    {"name": "confidence", "threshold": 0.4, "adapt": False},
    {"name": "confidence", "threshold": 0.8, "adapt": False},
    {"name": "svip"},
    {"name": "adaedl", "step": 0.0},
    {"name": "static", "gamma": 4},
)


class TapOutConfig(PolicyConfig):
    """Choose for each round one of several policies, such as stop rules, and keep to the one that delivers."""

    name: Literal["tapout"] = "tapout"
    arms: tuple[AnyPolicy, ...] = Field(
        default=RULES, min_length=2, description="The policies to choose among."
    )
    reward: Literal["throughput", "blended"] = Field(
        default="throughput", description="Tokens per second, or the paper's mean of length and acceptance."
    )
    exploration: FiniteFloat = Field(
        default=0.2, ge=0, description="Weight of the doubt about arms that were chosen seldom (c)."
    )
    blend: float = Field(
        default=0.5, ge=0, le=1, description="With `blended`: weight of the accepted length (a)."
    )
    max_gamma: int = Field(
        default=20,
        ge=1,
        le=LARGEST_GAMMA,
        description="With `blended`: the accepted length that counts in full (gamma_max).",
    )
    share: bool = Field(
        default=True, description="Whether arms learn from all rounds, or only from those they planned."
    )

    def build(self, seed: int = 0) -> TapOutPolicy:
        """Return a fresh policy with fresh arms."""
        return TapOutPolicy(self, seed)


@dataclass(slots=True)
class TapOutState(PolicyState):
    """Gains of each arm, in the reward of the options."""

    reward: Fixed[str]
    rates: Summed[ArmStatistics]


class TapOutPolicy(MergeablePolicy[TapOutState]):
    """Holds the arms and their rates, and hands each round to one of them; what arms learn is not merged."""

    version = 2

    def __init__(self, config: TapOutConfig, seed: int = 0) -> None:
        self._labels = [f"{i}-{arm.name}" for i, arm in enumerate(config.arms)]
        super().__init__("tapout", TapOutState(config.reward, ArmStatistics(self._labels)))
        self._config = config
        self._arms = [
            build_policy(arm, seed_of(seed, label))
            for arm, label in zip(config.arms, self._labels, strict=True)
        ]
        self._planned: int | None = None  # the arm that planned last
        self.needs = joint_needs(self._arms)
        self.timed = config.reward == "throughput"
        self.requires = joint_requirements(self._arms, latency="fused" if self.timed else "none")

    def held(self) -> Mapping[str, Policy]:
        """Return the arms."""
        return dict(zip(self._labels, self._arms, strict=True))

    def plan(self, start: RoundStart) -> Plan:
        """Let an arm plan: one that was not tried yet, else that of the highest bound."""
        arms = range(len(self._arms))
        new = next((arm for arm in arms if self.state.rates.rounds_of(arm) <= 0.0), None)
        if new is not None:
            self._planned = new
        else:
            normalise = self._config.reward == "throughput"
            self._planned = most_promising(
                self.state.rates, arms, self._config.exploration, normalise=normalise
            )
        return tag_plan(self._arms[self._planned].plan(start), self._labels[self._planned])

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Ask the arm that planned this round, if it listens at all."""
        if self._planned is None:
            return True
        arm = self._arms[self._planned]
        return not needs_of(arm) or ask_keep_drafting(arm, signals)

    def observe(self, done: Round) -> None:
        """Reward the arm that planned the round, and let the arms learn from it."""
        label, own = untag_round(done, self._labels)
        planned = self._labels.index(label) if label is not None else None
        if planned is not None and is_rate_sample(done):
            if self._config.reward == "throughput":
                self.state.rates.count(planned, done.emitted, done.total_s)
            else:
                self.state.rates.count(planned, self._blended(done), 1.0)
        others = replace(done, plan=replace(done.plan, reason=None))
        for number, arm in enumerate(self._arms):
            if self._config.share or number == planned:
                arm.observe(own if number == planned else others)

    def _blended(self, done: Round) -> float:
        if not done.accepted:
            return 0.0
        length = min(done.accepted / self._config.max_gamma, 1.0)
        return self._config.blend * length + (1.0 - self._config.blend) * done.accepted / done.drafted
