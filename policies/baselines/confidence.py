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
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from paceline.core.records import StopRule
from paceline.policies.baselines.threshold_policy import ThresholdConfig, ThresholdPolicy
from paceline.policies.state import check_count, check_header, check_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from paceline.core.records import Round

VERSION = 1
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


class ConfidencePolicy(ThresholdPolicy):
    """A threshold on the probability of the drafted token, fitted to the last verdicts."""

    def __init__(self, config: ConfidenceConfig) -> None:
        super().__init__(config, StopRule("prob", below=config.threshold))
        self._config = config
        self._threshold = config.threshold
        self._pairs: deque[tuple[float, int]] = deque(maxlen=WINDOW)  # (probability, 1 if accepted)
        self._rounds = 0  # since the last fit

    @property
    def threshold(self) -> float:
        """The threshold of the moment."""
        return self._threshold

    def observe(self, done: Round) -> None:
        """Remember what was judged, and fit the threshold every 16 rounds."""
        if not self._config.adapt or not done.signals:
            return
        judged = min(done.accepted, done.emitted)
        self._pairs.extend((one.prob, 1) for one in done.signals[:judged] if one.prob is not None)
        if done.rejected:
            refused = done.signals[done.accepted : done.accepted + 1]
            self._pairs.extend((one.prob, 0) for one in refused if one.prob is not None)
        self._rounds += 1
        if self._rounds >= REFIT_EVERY:
            self._rounds = 0
            self._adopt(fitted(self._pairs, self._config.weight))

    def state_dict(self) -> dict[str, Any]:
        """Return the threshold, the pairs it is learnt from, and the rounds since it was fitted."""
        return {
            "policy": "confidence",
            "version": VERSION,
            "threshold": self._threshold,
            "pairs": [list(pair) for pair in self._pairs],
            "rounds": self._rounds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what was learnt; with a fixed threshold that stays as it is.

        Raises:
            ValueError: The state is damaged, or of another policy or version; nothing is changed.
        """
        check_header(state, "confidence", VERSION)
        threshold = check_count(state.get("threshold"), "threshold")
        rounds = int(check_count(state.get("rounds"), "rounds", whole=True))
        pairs = []
        for item in check_list(state.get("pairs"), "pairs"):
            prob, accepted = check_list(item, "an item of pairs", length=2)
            pairs.append(
                (
                    float(check_count(prob, "a probability")),
                    int(check_count(accepted, "a verdict", whole=True)),
                )
            )
        if threshold > 1.0 or any(accepted > 1 for _, accepted in pairs):
            raise ValueError("the saved state is damaged: threshold and verdicts must lie between 0 and 1")
        self._pairs = deque(pairs, maxlen=WINDOW)
        self._rounds = rounds
        if self._config.adapt:
            self._adopt(threshold)

    def _adopt(self, threshold: float | None) -> None:
        if threshold is not None and threshold != self._threshold:
            self._threshold = threshold
            self.rule = StopRule("prob", below=threshold)


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
