"""UCBSpec: pull the arm that could still be the best, given how often it was pulled.

Algorithm 4 of "BanditSpec: Adaptive Speculative Decoding via Bandit Algorithms" (ICML 2025,
https://arxiv.org/abs/2505.15141). Each of K arms is pulled once. After t rounds, n_i of them pulls of arm i with mean
reward mu_i, the next arm is the one of the largest mu_i + cr_i,

    cr_i = (L/2) sqrt((1 + n_i) / n_i^2 (1 + 2 log(K t^2 sqrt(1 + n_i) / delta))),

where a round yields Y = accepted + 1 tokens, from 1 to L + 1: a spread of L, hence L/2 as the sub-Gaussian constant.

From the paper: all of this. Ours: the factor `scale` on cr_i (1 is the paper's); the values of delta and L; which
rounds count; and the reward `rate`, where mu_i is all tokens of the arm over all its seconds, as a share of the best
such rate, and the spread is 1. The released code adds sqrt(6 log t / sum_j n_j) instead of cr_i, the same number for
every arm, so that after two rounds of each length it never explores again; and it averages ratios of single rounds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from paceline import MergeablePolicy, PolicyState, Requirements, Summed
from paceline_banditspec.arms import ArmsState
from paceline_banditspec.options import BanditOptions

if TYPE_CHECKING:
    from paceline import Plan, Round, RoundStart


class UcbSpecConfig(BanditOptions):
    """UCBSpec of the BanditSpec paper: the arm with the largest upper confidence bound."""

    name: Literal["ucbspec"] = "ucbspec"
    scale: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="Factor on the confidence radius; 1 is the paper's, less explores less.",
    )
    delta: float = Field(
        default=0.05, gt=0, lt=1, description="The probability of error that the confidence radius allows."
    )

    def build(self, seed: int = 0) -> UcbSpecPolicy:
        """Return a fresh policy; it draws no random numbers."""
        return UcbSpecPolicy(self)


@dataclass
class Pulls(PolicyState):
    """Pulls of an arm, the tokens that they yielded, and the seconds that they took."""

    pulls: Summed[float] = 0.0
    tokens: Summed[float] = 0.0
    seconds: Summed[float] = 0.0

    def check(self) -> None:
        """Refuse what no rounds yield: each gives one token at least."""
        if not (self.pulls.is_integer() and self.tokens.is_integer() and 0 <= self.pulls <= self.tokens):
            raise ValueError(f"these are no statistics of rounds: {self.tokens} tokens of {self.pulls} pulls")


@dataclass
class UcbSpecState(ArmsState):
    """Sums for each arm."""

    sums: Summed[defaultdict[str, Pulls]] = field(default_factory=partial(defaultdict, Pulls))

    def check(self) -> None:
        """Refuse sums of other arms."""
        self.check_arms(self.sums)


class UcbSpecPolicy(MergeablePolicy[UcbSpecState]):
    """Sums for each arm, and the index of Algorithm 4."""

    version = 2

    def __init__(self, config: UcbSpecConfig) -> None:
        self._config = config
        self._arms = config.choice()
        self.timed = self._rate = config.maximised() == "rate"
        self.requires: Requirements = self._arms.requires(latency=self._rate)
        super().__init__(config.name, UcbSpecState(self._arms))

    def plan(self, start: RoundStart) -> Plan:
        """Pull an arm that was never pulled, else the one of the largest index; the first one among equals."""
        plans = self._arms.open(start)
        if not plans:
            return self._arms.rest(start)
        for arm, plan in plans.items():
            if not self._pulled(arm):
                return replace(plan, reason="warm-up")
        index = self.index(tuple(plans))
        return plans[max(plans, key=index.__getitem__)]

    def observe(self, done: Round) -> None:
        """Count a full pull. One that was ended is censored: it might have yielded more."""
        arm = self._arms.pulled(done)
        if arm is None or done.ended is not None or (self._rate and done.total_s <= 0.0):
            return
        sums = self.state.sums[arm]
        sums.pulls += 1.0
        sums.tokens += done.accepted + 1.0
        sums.seconds += done.total_s

    def _pulled(self, arm: str) -> bool:
        return arm in self.state.sums and self.state.sums[arm].pulls > 0.0

    def index(self, arms: tuple[str, ...]) -> dict[str, float]:
        """Return the upper confidence bound of each of these arms, all pulled before."""
        sums = {arm: self.state.sums[arm] for arm in arms}
        if self._rate:
            rates = {
                arm: known.tokens / known.seconds if known.seconds else 0.0 for arm, known in sums.items()
            }
            best = max(rates.values()) or 1.0
            means, spread = {arm: rate / best for arm, rate in rates.items()}, 1.0
        else:
            means = {arm: known.tokens / known.pulls for arm, known in sums.items()}
            spread = float(self._arms.length)
        rounds = sum(known.pulls for known in self.state.sums.values())
        scale, delta = self._config.scale, self._config.delta
        return {
            arm: means[arm] + scale * radius(known.pulls, rounds, len(arms), spread, delta)
            for arm, known in sums.items()
        }


def radius(pulls: float, rounds: float, arms: int, spread: float, delta: float) -> float:
    """Return the paper's confidence radius of an arm that was pulled so often in so many rounds."""
    surprise = 1.0 + 2.0 * math.log(arms * rounds**2 * math.sqrt(1 + pulls) / delta)
    return spread / 2.0 * math.sqrt((1 + pulls) / pulls**2 * surprise)
