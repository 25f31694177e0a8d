"""UCB1 over a few gammas: try each, then plan the one that may still be the fastest.

The rate of arm i is its tokens over its seconds, both summed over its rounds. Before a round the policy plans

    argmax  rate_i / max_j rate_j  +  c sqrt(log(N + 1) / n_i),

n_i being the rounds of arm i and N those of all. The second term is the doubt that remains: it shrinks with every
round of the arm and grows slowly with those of others, so that no arm is given up for ever.

The index is UCB1 (Auer, Cesa-Bianchi and Fischer 2002, https://doi.org/10.1023/A:1013689704352), whose c is sqrt(2) for
rewards of 0 to 1. Bandits over the settings of speculative decoding are BanditSpec's idea (2025,
https://arxiv.org/abs/2505.15141); its theory counts rounds, which is time only where all arms cost the same, and its
experiment with gammas is rewarded by tokens per second, as here. Ours: ratios of sums; division by the best rate, which
makes c free of units; N + 1, which keeps the logarithm positive; c = 0.3, as sqrt(2) explores for thousands of
rounds; and all that follows.

Cold start. The arms are tried smallest first. The first round of an arm is forgotten and tried again, as it often holds
the price of things done once (kernels compiled, graphs recorded). Drafting gamma tokens wastes, at worst, what the
round takes beyond plain decoding. A new arm has to wait until the tries of it and of those before it can have wasted
at most the share `cold_start` of the time so far; when drafting is dear, the large arms come late.

Rounds that count. A round is put down to the gamma that was planned, if that was one of the arms: where the budget
or the engine forbids an arm, another arm is chosen, not a part of it. Where no arm is left, the largest possible gamma
below them is planned, and counts for none. Rounds that were ended, and rounds that first read a long lag, are left out
(see `is_rate_sample`). A draft that proposes fewer tokens than planned, or none, is what planning that gamma brings,
and counts. Rounds that another policy planned are left out, since their drafting may have been stopped by other rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field, FiniteFloat

from paceline.core.base_policy import MergeablePolicy
from paceline.core.records import Requirements
from paceline.core.state.declared import PolicyState, Summed
from paceline.policies.baselines.gamma_arms import (
    GammaArmsConfig,
    arm_of,
    most_promising,
    open_arms,
    plan_arm,
)
from paceline.policies.options import chosen_draft
from paceline.policies.throughput import ArmStatistics, is_rate_sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.records import Plan, Round, RoundStart

TRIES = 2  # rounds of a new arm: the one that is forgotten, and the one that counts


class UcbConfig(GammaArmsConfig):
    """Try a few gammas, and plan the one whose tokens per second may still be the highest."""

    name: Literal["ucb"] = "ucb"
    exploration: FiniteFloat = Field(
        default=0.3, ge=0, description="Weight of the doubt about arms that were planned seldom (c)."
    )
    cold_start: FiniteFloat = Field(
        default=0.25, gt=0, description="Share of the time that the first tries of arms may waste, at worst."
    )

    def build(self, seed: int = 0) -> UcbPolicy:
        """Return a fresh policy."""
        return UcbPolicy(self, exploration=self.exploration, cold_start=self.cold_start)


@dataclass(slots=True)
class UcbState(PolicyState):
    """Gains and times of each gamma, and whether it was planned at all."""

    rates: Summed[ArmStatistics]
    seen: list[bool]


class UcbPolicy(MergeablePolicy[UcbState]):
    """Keeps the rate of each gamma, and plans by upper confidence bounds."""

    requires = Requirements(latency="fused")
    version = 2

    def __init__(
        self, config: GammaArmsConfig, *, exploration: float, cold_start: float, discount: float = 1.0
    ) -> None:
        rates = ArmStatistics([str(gamma) for gamma in config.gammas], discount)
        super().__init__(config.name, UcbState(rates, [False] * len(config.gammas)))
        self._options = config
        self._gammas = config.gammas
        self._exploration = exploration
        self._cold_start = cold_start

    def plan(self, start: RoundStart) -> Plan:
        """Try the next arm if its time has come, else plan the arm of the highest bound."""
        arms = open_arms(start, self._gammas)
        arm, reason = self._choose(start, arms) if arms else (None, None)
        return plan_arm(start, self._options, arm, reason)

    def observe(self, done: Round) -> None:
        """Add tokens and seconds to the arm of the round, unless they say nothing about it."""
        arm = arm_of(done, self._gammas)
        if arm is None:
            return
        if self.state.seen[arm] and is_rate_sample(done):
            self.state.rates.count(arm, done.emitted, done.total_s)
        self.state.seen[arm] = True

    def _choose(self, start: RoundStart, arms: Sequence[int]) -> tuple[int, str | None]:
        """Return the arm to plan, and why if it is new."""
        known = [arm for arm in arms if self.state.rates.rounds_of(arm) > 0.0]
        if len(known) < len(arms):
            new = next(arm for arm in arms if self.state.rates.rounds_of(arm) <= 0.0)
            if not known or self._may_try(start, new):
                return new, "warm-up"
        return most_promising(self.state.rates, known, self._exploration), None

    def _may_try(self, start: RoundStart, new: int) -> bool:
        """Tell whether the tries of an arm and of all before it are worth their price even if they bring nothing."""
        draft = chosen_draft(start, self._options.draft)
        if draft is None:
            return True
        costs, context = start.costs, start.context
        plain_s = costs.verify_s(1, context)
        waste_s = sum(
            costs.draft_s(draft, gamma) + costs.verify_s(gamma + 1, context) - plain_s
            for gamma in self._gammas[: new + 1]
            if gamma
        )
        return TRIES * waste_s <= self._cold_start * self.state.rates.total_spent()
