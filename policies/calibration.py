"""Calibration of the probability that a draft gives its own token as a sign of acceptance.

A draft's probabilities are off, and by how much depends on the pair; how likely tokens are accepted at all moves with
the text. So only the evidence of a probability is learnt, as a likelihood ratio, and it corrects what is expected now:

    odds(accepted | p in bin b) = odds(accepted) * L_b,     L_b = P(b | accepted) / P(b | refused)  (Bayes)

With y_b tokens of bin b accepted and f_b refused, where e_b and g_b were expected of each, the ratio is estimated as

    L_b = [(y_b + w) / (e_b + w)] / [(f_b + w) / (g_b + w)],   w = 4

so that a bin with little evidence, or probabilities that tell nothing, leave the odds as they are. Tokens after a
refusal, or after the end of a text, were not judged and are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paceline.core.state.declared import Amount, PolicyState

if TYPE_CHECKING:
    from collections.abc import Sequence

BINS = 8  # each must fill within a few dozen rounds
WEIGHT = 4.0  # tokens of evidence against a bin's saying anything
FADING = 0.995  # weight of what is known, for each further round: what a draft's word is worth hardly changes


def bin_of(prob: float) -> int:
    """Return the bin of a probability."""
    return min(int(prob * BINS), BINS - 1)


def _no_counts() -> list[float]:
    return [0.0] * BINS


@dataclass(slots=True)
class Calibration(PolicyState):
    """Counts of one draft by bin: accepted and refused (y, f), and how many were expected of each (e, g)."""

    accepted: list[Amount] = field(default_factory=_no_counts)
    refused: list[Amount] = field(default_factory=_no_counts)
    expected_accepted: list[Amount] = field(default_factory=_no_counts)
    expected_refused: list[Amount] = field(default_factory=_no_counts)

    def acceptance_prob(self, expected: float, prob: float) -> float:
        """Return the probability that a token of this `prob` is accepted; `expected` is that of any token here."""
        here = bin_of(prob)
        right = expected * ((self.accepted[here] + WEIGHT) / (self.expected_accepted[here] + WEIGHT))
        wrong = (1.0 - expected) * ((self.refused[here] + WEIGHT) / (self.expected_refused[here] + WEIGHT))
        return right / (right + wrong) if right else 0.0

    def observe(
        self, probs: Sequence[float], expected: Sequence[float], accepted: int, *, refused: bool
    ) -> None:
        """Count a round.

        Args:
            probs: The probability of each token drafted.
            expected: The probability of each of them as it was expected before its probability was known.
            accepted: How many were accepted.
            refused: Whether the next one was refused.
        """
        for table in (self.accepted, self.refused, self.expected_accepted, self.expected_refused):
            table[:] = [count * FADING for count in table]
        judged = min(accepted + refused, len(probs), len(expected))
        for position in range(judged):
            here = bin_of(probs[position])
            (self.accepted if position < accepted else self.refused)[here] += 1.0
            self.expected_accepted[here] += expected[position]
            self.expected_refused[here] += 1.0 - expected[position]
