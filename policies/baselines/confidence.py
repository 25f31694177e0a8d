"""Stop drafting after the first token that the draft itself thought unlikely.

The dynamic speculation of transformers (https://huggingface.co/blog/dynamic_speculation_lookahead, after DISCO,
https://arxiv.org/abs/2405.04304) and `p_min` of llama.cpp: with p the probability of the token that was drafted,

    stop after the first token with p < tau.

With `adapt`, tau is learnt as transformers does it. Of each draft token that was judged, p and the verdict are
kept. Go on at p >= tau is a guess that the token will be accepted; FPR(tau) is the share of refused tokens where it
is wrong, FNR(tau) the share of accepted ones. Stopping before a good token costs more than drafting a bad one, so

    tau = argmin FPR(tau) + w FNR(tau),    w = 3,    over the p that were seen; the highest among equals.

From the source: rule, objective, w, the first tau of 0.4, 20 tokens at most. What transformers had wrong and is
right here: its list of pairs grows for ever and is sorted anew every round (here: the last 2048 pairs, every 16
rounds), and the tau that it learnt did not reach a draft at work before the next call, or ever, depending on the
release (here: the next round). Ours: tau stays within 0.05 and 0.95, so that no early run of luck switches the rule
off or drafting off; tokens past the cut of an ended round are left out, since nobody wanted them judged, and so is
everything behind a refusal.

A tau is a threshold on tokens, not on speed: it knows nothing of what drafting costs. Weigh that in with `weight`.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from paceline.core.records import StopRule
from paceline.core.state.declared import Count, PolicyState, Share
from paceline.policies.baselines.threshold_policy import ThresholdConfig, ThresholdPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paceline.core.records import Round

WINDOW = 2048  # pairs: some hundred rounds, and half a millisecond to fit
REFIT_EVERY = 16  # rounds
LEAST_PAIRS = 6  # as transformers, which learns once it has more than 5
LOWEST, HIGHEST = 0.05, 0.95


class ConfidenceConfig(ThresholdConfig):
    """Draft until a token's probability is below a threshold, which is learnt from the verdicts or fixed."""

    name: Literal["confidence"] = "confidence"
    threshold: float = Field(
        default=0.4, ge=0, le=1, description="Least probability to go on after; with `adapt`, to start from."
    )
    adapt: bool = Field(default=True, description="Whether the threshold is learnt.")
    weight: float = Field(
        default=3.0,
        gt=0,
        allow_inf_nan=False,
        description="With `adapt`: how much worse it is to stop at a good token than to go on at a bad one.",
    )

    def build(self, seed: int = 0) -> ConfidencePolicy:
        """Return a fresh policy."""
        return ConfidencePolicy(self)


@dataclass(slots=True)
class ConfidenceState(PolicyState):
    """The threshold, and the verdicts that it is fitted to.

    Attributes:
        pairs: Probability of a draft token, and 1 if it was accepted, else 0.
        rounds: Since the last fit.
    """

    threshold: Share
    pairs: deque[tuple[Share, Annotated[int, Field(ge=0, le=1)]]]
    rounds: Count = 0


class ConfidencePolicy(ThresholdPolicy[ConfidenceState]):
    """A threshold on the probability of the drafted token, fitted to the last verdicts."""

    def __init__(self, config: ConfidenceConfig) -> None:
        state = ConfidenceState(config.threshold, deque(maxlen=WINDOW))
        super().__init__(config, state, StopRule("prob", below=config.threshold))
        self._config = config

    @property
    def threshold(self) -> float:
        """The threshold of the moment."""
        return self.state.threshold

    def observe(self, done: Round) -> None:
        """Remember what was judged, and fit the threshold every 16 rounds."""
        if not self._config.adapt or not done.signals:
            return
        judged = min(done.accepted, done.emitted)
        self.state.pairs.extend((token.prob, 1) for token in done.signals[:judged] if token.prob is not None)
        if done.rejected:
            refused = done.signals[done.accepted : done.accepted + 1]
            self.state.pairs.extend((token.prob, 0) for token in refused if token.prob is not None)
        self.state.rounds += 1
        if self.state.rounds >= REFIT_EVERY:
            self.state.rounds = 0
            self.state.threshold = fitted(self.state.pairs, self._config.weight) or self.state.threshold
            self.refresh()

    def refresh(self) -> None:
        """Declare the rule of the threshold, which stays as it is if it is not learnt."""
        if not self._config.adapt:
            self.state.threshold = self._config.threshold
        if self.rule.below != self.state.threshold:
            self.rule = StopRule("prob", below=self.state.threshold)


def fitted(pairs: Iterable[tuple[float, int]], weight: float) -> float | None:
    """Return the argmin of FPR + `weight` FNR, within bounds; None before both verdicts were seen.

    Only probabilities of accepted tokens can win: from any other one, the next higher threshold stops at no good token
    more and at one bad token more.
    """
    known = list(pairs)
    right = sorted([prob for prob, accepted in known if accepted])
    wrong = sorted([prob for prob, accepted in known if not accepted])
    if len(known) < LEAST_PAIRS or not right or not wrong:
        return None
    best, least, last, below = 0.0, math.inf, -1.0, 0
    for missed, prob in enumerate(right):
        if prob == last:
            continue
        last = prob
        while below < len(wrong) and wrong[below] < prob:
            below += 1
        # FPR + weight FNR, times both counts: without division, equal losses come out equal.
        loss = (len(wrong) - below) * len(right) + weight * missed * len(wrong)
        if loss <= least:
            best, least = prob, loss
    return min(max(best, LOWEST), HIGHEST)
