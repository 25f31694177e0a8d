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

from typing import TYPE_CHECKING

from paceline.policies.state import check_count, check_list

if TYPE_CHECKING:
    from collections.abc import Sequence

BINS = 8  # each must fill within a few dozen rounds
WEIGHT = 4.0  # tokens of evidence against a bin's saying anything
FADING = 0.995  # weight of what is known, for each further round: what a draft's word is worth hardly changes


def bin_of(prob: float) -> int:
    """Return the bin of a probability."""
    return min(int(prob * BINS), BINS - 1)


class Calibration:
    """Counts of one draft by bin: accepted and refused, as found and as expected."""

    def __init__(self) -> None:
        self._found = ([0.0] * BINS, [0.0] * BINS)
        self._expected = ([0.0] * BINS, [0.0] * BINS)

    def chance(self, expected: float, prob: float) -> float:
        """Return the chance of acceptance of a token of this probability; `expected` is that of any token here."""
        here = bin_of(prob)
        for_it, against = (
            (found[here] + WEIGHT) / (foreseen[here] + WEIGHT)
            for found, foreseen in zip(self._found, self._expected, strict=True)
        )
        right, wrong = expected * for_it, (1.0 - expected) * against
        return right / (right + wrong) if right else 0.0

    def observe(
        self, probs: Sequence[float], expected: Sequence[float], accepted: int, *, refused: bool
    ) -> None:
        """Count a round.

        Args:
            probs: The probability of each token drafted.
            expected: The chance of each of them as it was expected before its probability was known.
            accepted: How many were accepted.
            refused: Whether the next one was refused.
        """
        for table in (*self._found, *self._expected):
            table[:] = [count * FADING for count in table]
        judged = min(accepted + refused, len(probs), len(expected))
        for position in range(judged):
            here = bin_of(probs[position])
            self._found[0 if position < accepted else 1][here] += 1.0
            self._expected[0][here] += expected[position]
            self._expected[1][here] += 1.0 - expected[position]

    def save(self) -> list[list[float]]:
        """Return the counts as JSON-able values."""
        return [list(table) for table in (*self._found, *self._expected)]

    def load(self, saved: object) -> None:
        """Replace the counts by saved ones.

        Raises:
            ValueError: They are damaged; nothing is changed.
        """
        right, wrong, for_it, against = (
            [
                float(check_count(count, "a count of a bin"))
                for count in check_list(row, "a row of bins", length=BINS)
            ]
            for row in check_list(saved, "a calibration", length=4)
        )
        self._found, self._expected = (right, wrong), (for_it, against)
