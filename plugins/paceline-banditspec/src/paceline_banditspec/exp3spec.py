"""EXP3Spec: draw an arm with a chance that falls with the losses it is estimated to have had.

Algorithm 5 of "BanditSpec: Adaptive Speculative Decoding via Bandit Algorithms" (ICML 2025,
https://arxiv.org/abs/2505.15141). In round t, with K arms,

    p_i ~ exp(-eta_t Z_i),    eta_t = sqrt(log K / (t K)),

and after a round of arm I that yielded Y = accepted + 1 tokens out of at most L + 1,

    Z_I = Z_I + (L + 1 - Y) / (L p_I).

Since eta_t follows t, no number of rounds has to be known beforehand. Nothing is assumed about the text: the bound of
the paper holds against an adversary that fixed all outcomes beforehand.

From the paper: all of this. Ours: which rounds count, and the reward `rate`. There a round of T seconds also loses the
tokens that this time would have yielded at the rate r of all rounds so far, their tokens over their seconds:

    (L + 1 - Y + min(r T, L + 1)) / ((2 L + 1) p_I).

Once r is the best rate there is, the arm that has it is the one of the least expected loss, and a sum of such losses is
no mean of ratios.
"""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from paceline import Requirements, Signal, TokenSignals
from paceline_banditspec.options import BanditOptions
from paceline_banditspec.state import arms_of, check_header, header, number, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from paceline import Plan, Round, RoundStart


class Exp3SpecConfig(BanditOptions):
    """EXP3Spec of the BanditSpec paper: arms drawn by exponential weights, whatever the text does."""

    name: Literal["exp3spec"] = "exp3spec"

    def build(self, seed: int = 0) -> Exp3SpecPolicy:
        """Return a fresh policy whose draws follow from `seed`."""
        return Exp3SpecPolicy(self, seed)


class Exp3SpecPolicy:
    """The estimated losses of each arm, and the chances that follow from them."""

    needs: frozenset[Signal] = frozenset()

    def __init__(self, config: Exp3SpecConfig, seed: int = 0) -> None:
        self._arms = config.choice()
        self._rate = config.maximised() == "rate"
        self._seed = seed
        self._losses: dict[str, float] = {}
        self._rounds = 0
        self._draws = 0
        self._tokens, self._seconds = 0, 0.0
        self._drawn: tuple[str, float] | None = None
        # A loss is divided by the chance that its own round was drawn with, so a decision has to act at once.
        self.requires: Requirements = replace(self._arms.requires(latency=self._rate), immediate=True)

    def plan(self, start: RoundStart) -> Plan:
        """Draw an arm."""
        plans = self._arms.open(start)
        if not plans:
            self._drawn = None
            return self._arms.rest(start)
        chances = self.chances(plans)
        left = Random(f"{self._seed}/{self._draws}").random()
        self._draws += 1
        arm = next(iter(plans))
        for arm in plans:  # the last one stands when rounding leaves something over
            left -= chances[arm]
            if left < 0.0:
                break
        self._drawn = (arm, chances[arm])
        return plans[arm]

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Never stop early."""
        return True

    def observe(self, done: Round) -> None:
        """Add the loss of a full pull. One that was ended is censored: it might have yielded more."""
        drawn = self._drawn
        if drawn is None or done.ended is not None or self._arms.pulled(done) != drawn[0]:
            return
        arm, chance = drawn
        self._tokens += done.accepted + 1
        self._seconds += done.total_s
        self._losses[arm] = self._losses.get(arm, 0.0) + self._loss(done.accepted + 1, done.total_s) / chance
        self._rounds += 1

    def chances(self, arms: Iterable[str]) -> dict[str, float]:
        """Return the chance of each of these arms in the next round."""
        losses = {arm: self._losses.get(arm, 0.0) for arm in arms}
        eta = math.sqrt(math.log(len(losses)) / ((self._rounds + 1) * len(losses)))
        least = min(losses.values())
        weights = {arm: math.exp(-eta * (loss - least)) for arm, loss in losses.items()}
        total = sum(weights.values())
        return {arm: weight / total for arm, weight in weights.items()}

    def _loss(self, tokens: int, seconds: float) -> float:
        """Return the loss of a round, from 0 to 1."""
        most = self._arms.length + 1
        if not self._rate:
            return (most - tokens) / (most - 1)
        forgone = self._tokens / self._seconds * seconds if self._seconds > 0.0 else 0.0
        return (most - tokens + min(forgone, most)) / (2 * most - 1)

    def state_dict(self) -> dict[str, Any]:
        """Return the losses, and the counts that chances and draws follow from."""
        return header("exp3spec", self._arms) | {
            "reward": "rate" if self._rate else "tokens",
            "losses": dict(self._losses),
            "rounds": self._rounds,
            "draws": self._draws,
            "tokens": self._tokens,
            "seconds": self._seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what was learnt.

        Raises:
            ValueError: The state is damaged, or of other arms, another L or another reward; nothing is changed.
        """
        check_header(state, "exp3spec", self._arms)
        reward = "rate" if self._rate else "tokens"
        if state.get("reward") != reward:
            raise ValueError(f"the saved losses are of reward {state.get('reward')!r}, not of {reward!r}")
        read = arms_of(state.get("losses"), "losses", self._arms)
        losses = {arm: float(number(loss, f"the loss of arm {arm!r}")) for arm, loss in read.items()}
        rounds, draws = whole(state.get("rounds"), "rounds"), whole(state.get("draws"), "draws")
        tokens, seconds = whole(state.get("tokens"), "tokens"), float(number(state.get("seconds"), "seconds"))
        self._losses, self._rounds, self._draws = losses, rounds, draws
        self._tokens, self._seconds, self._drawn = tokens, seconds, None
