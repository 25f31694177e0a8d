"""EXP3Spec: draw an arm with a probability that falls with the losses it is estimated to have had.

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
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from paceline import BasePolicy, Fixed, Requirements
from paceline_banditspec.arms import ArmsState
from paceline_banditspec.options import BanditOptions, Reward

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paceline import Plan, Round, RoundStart

Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]


class Exp3SpecConfig(BanditOptions):
    """EXP3Spec of the BanditSpec paper: arms drawn by exponential weights, whatever the text does."""

    name: Literal["exp3spec"] = "exp3spec"

    def build(self, seed: int = 0) -> Exp3SpecPolicy:
        """Return a fresh policy whose draws follow from `seed`."""
        return Exp3SpecPolicy(self, seed)


@dataclass
class Exp3SpecState(ArmsState):
    """The estimated losses of each arm, and the counts that probabilities and draws follow from."""

    reward: Fixed[Reward]
    losses: defaultdict[str, float] = field(default_factory=partial(defaultdict, float))
    rounds: Count = 0
    draws: Count = 0
    tokens: Count = 0
    seconds: Amount = 0.0

    def check(self) -> None:
        """Refuse losses of other arms, and what is no loss."""
        self.check_arms(self.losses)
        if wrong := [loss for loss in self.losses.values() if loss < 0.0]:
            raise ValueError(f"the saved state is damaged: a loss is {wrong[0]}, which is below 0")


class Exp3SpecPolicy(BasePolicy[Exp3SpecState]):
    """The estimated losses of each arm, and the probabilities that follow from them."""

    version = 2

    def __init__(self, config: Exp3SpecConfig, seed: int = 0) -> None:
        self._arms = config.choice()
        super().__init__(config.name, Exp3SpecState(self._arms, config.maximised()))
        self._rate = config.maximised() == "rate"
        self._seed = seed
        self._drawn: tuple[str, float] | None = None
        # A loss is divided by the probability that its own round was drawn with, so a decision has to act at once.
        self.requires: Requirements = replace(self._arms.requires(latency=self._rate), immediate=True)

    def plan(self, start: RoundStart) -> Plan:
        """Draw an arm."""
        plans = self._arms.open(start)
        if not plans:
            self._drawn = None
            return self._arms.rest(start)
        probs = self.probs(plans)
        left = Random(f"{self._seed}/{self.state.draws}").random()
        self.state.draws += 1
        arm = next(iter(plans))
        for arm in plans:  # the last one stands when rounding leaves something over
            left -= probs[arm]
            if left < 0.0:
                break
        self._drawn = (arm, probs[arm])
        return plans[arm]

    def observe(self, done: Round) -> None:
        """Add the loss of a full pull. One that was ended is censored: it might have yielded more."""
        drawn = self._drawn
        if drawn is None or done.ended is not None or self._arms.pulled(done) != drawn[0]:
            return
        arm, prob = drawn
        state = self.state
        state.tokens += done.accepted + 1
        state.seconds += done.total_s
        state.losses[arm] += self._loss(done.accepted + 1, done.total_s) / prob
        state.rounds += 1

    def probs(self, arms: Iterable[str]) -> dict[str, float]:
        """Return the probability of each of these arms in the next round."""
        losses = {arm: self.state.losses.get(arm, 0.0) for arm in arms}
        eta = math.sqrt(math.log(len(losses)) / ((self.state.rounds + 1) * len(losses)))
        least = min(losses.values())
        weights = {arm: math.exp(-eta * (loss - least)) for arm, loss in losses.items()}
        total = sum(weights.values())
        return {arm: weight / total for arm, weight in weights.items()}

    def _loss(self, tokens: int, seconds: float) -> float:
        """Return the loss of a round, from 0 to 1."""
        most = self._arms.length + 1
        if not self._rate:
            return (most - tokens) / (most - 1)
        spent = self.state.seconds
        forgone = self.state.tokens / spent * seconds if spent > 0.0 else 0.0
        return (most - tokens + min(forgone, most)) / (2 * most - 1)

    def refresh(self) -> None:
        """Forget what was drawn before another state came."""
        self._drawn = None
