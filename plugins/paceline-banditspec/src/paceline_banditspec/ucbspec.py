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
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from paceline import Requirements, Signal, TokenSignals
from paceline_banditspec.options import BanditOptions
from paceline_banditspec.state import arms_of, check_header, header, number, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline import Plan, Round, RoundStart

Sums = tuple[int, int, float]
"""Pulls of an arm, the tokens that they yielded, and the seconds that they took."""

NOTHING: Sums = (0, 0, 0.0)
PARTS = ("pulls", "tokens", "seconds")


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
        default=0.05, gt=0, lt=1, description="The chance of error that the confidence radius allows."
    )

    def build(self, seed: int = 0) -> UcbSpecPolicy:
        """Return a fresh policy; it draws no random numbers."""
        return UcbSpecPolicy(self)


class UcbSpecPolicy:
    """Sums for each arm, and the index of Algorithm 4."""

    needs: frozenset[Signal] = frozenset()

    def __init__(self, config: UcbSpecConfig) -> None:
        self._config = config
        self._arms = config.choice()
        self._rate = config.maximised() == "rate"
        self._sums: dict[str, Sums] = {}
        self.requires: Requirements = self._arms.requires(latency=self._rate)

    def plan(self, start: RoundStart) -> Plan:
        """Pull an arm that was never pulled, else the one of the largest index; the first one among equals."""
        plans = self._arms.open(start)
        if not plans:
            return self._arms.rest(start)
        for arm, plan in plans.items():
            if arm not in self._sums:
                return replace(plan, reason="warm-up")
        index = self.index(tuple(plans))
        return plans[max(plans, key=index.__getitem__)]

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Never stop early."""
        return True

    def observe(self, done: Round) -> None:
        """Count a full pull. One that was ended is censored: it might have yielded more."""
        arm = self._arms.pulled(done)
        if arm is None or done.ended is not None or (self._rate and done.total_s <= 0.0):
            return
        pulls, tokens, seconds = self._sums.get(arm, NOTHING)
        self._sums[arm] = (pulls + 1, tokens + done.accepted + 1, seconds + done.total_s)

    def index(self, arms: tuple[str, ...]) -> dict[str, float]:
        """Return the upper confidence bound of each of these arms, all pulled before."""
        sums = {arm: self._sums[arm] for arm in arms}
        if self._rate:
            rates = {arm: tokens / seconds if seconds else 0.0 for arm, (_, tokens, seconds) in sums.items()}
            best = max(rates.values()) or 1.0
            means, spread = {arm: rate / best for arm, rate in rates.items()}, 1.0
        else:
            means = {arm: tokens / pulls for arm, (pulls, tokens, _) in sums.items()}
            spread = float(self._arms.length)
        rounds = sum(pulls for pulls, _, _ in self._sums.values())
        scale, delta = self._config.scale, self._config.delta
        return {
            arm: means[arm] + scale * radius(pulls, rounds, len(arms), spread, delta)
            for arm, (pulls, _, _) in sums.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Return pulls, tokens and seconds of each arm."""
        return header("ucbspec", self._arms) | {"sums": {arm: list(sums) for arm, sums in self._sums.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what was counted.

        Raises:
            ValueError: The state is damaged, or of other arms or another L; nothing is changed.
        """
        check_header(state, "ucbspec", self._arms)
        read = arms_of(state.get("sums"), "sums", self._arms)
        self._sums = {arm: _checked(sums, arm) for arm, sums in read.items()}

    def export(self) -> dict[str, float]:
        """Return the sums under keys "arm/pulls", "arm/tokens" and "arm/seconds"."""
        return {
            f"{arm}/{part}": amount
            for arm, sums in self._sums.items()
            for part, amount in zip(PARTS, sums, strict=True)
        }

    def absorb(self, statistics: Mapping[str, float]) -> None:
        """Add the sums of another replica.

        Raises:
            ValueError: They are not those of this policy and its arms; nothing is changed.
        """
        arms = {key.rpartition("/")[0] for key in statistics}
        if statistics.keys() != {f"{arm}/{part}" for arm in arms for part in PARTS}:
            raise ValueError("no statistics of ucbspec: each arm needs pulls, tokens and seconds")
        arms_of(dict.fromkeys(arms), "statistics", self._arms)
        added = {arm: _checked([statistics[f"{arm}/{part}"] for part in PARTS], arm) for arm in sorted(arms)}
        for arm, more in added.items():
            pulls, tokens, seconds = self._sums.get(arm, NOTHING)
            self._sums[arm] = (pulls + more[0], tokens + more[1], seconds + more[2])


def radius(pulls: int, rounds: int, arms: int, spread: float, delta: float) -> float:
    """Return the paper's confidence radius of an arm that was pulled so often in so many rounds."""
    surprise = 1.0 + 2.0 * math.log(arms * rounds**2 * math.sqrt(1 + pulls) / delta)
    return spread / 2.0 * math.sqrt((1 + pulls) / pulls**2 * surprise)


def _checked(sums: object, arm: str) -> Sums:
    if not isinstance(sums, list) or len(sums) != len(PARTS):
        raise ValueError(
            f"the saved state is damaged: of arm {arm!r} it has {sums!r}, not {', '.join(PARTS)}"
        )
    pulls, tokens = (
        whole(_int(value), f"{part} of arm {arm!r}") for part, value in zip(PARTS, sums[:2], strict=False)
    )
    if not 1 <= pulls <= tokens:
        raise ValueError(f"the saved state is damaged: arm {arm!r} has {tokens} tokens of {pulls} pulls")
    return pulls, tokens, number(sums[2], f"seconds of arm {arm!r}")


def _int(value: object) -> object:
    """Return whole numbers as int: statistics that were added elsewhere may come as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
