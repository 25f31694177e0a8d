"""How often a draft token is accepted that the draft gave such a probability, by position.

A draft's own probabilities are off, and by how much depends on the text. So acceptance is counted in bins of that
probability, and apart for the first positions, since a token is judged only if all before it were accepted:

    a_b  = (sum over positions y_b + 2 c) / (sum y_b + sum f_b + 2)      c the middle of the bin: the draft's own word
    a_kb = (y_kb + 4 a_b) / (y_kb + f_kb + 4)                            drawn towards the bin's chance at any position

Positions after a refusal, or after the end of a text, were not judged and are not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.policies.state import check_count, check_list

if TYPE_CHECKING:
    from collections.abc import Sequence

BINS = 8
POSITIONS = 4  # the last one stands for all later ones
OWN_WORD = 2.0  # observations that the draft's own probability is worth
POOLING = 4.0  # observations that the bin at any position is worth at one
FADING = 0.99  # weight of what is known, for each further round


def bin_of(prob: float) -> int:
    """Return the bin of a probability."""
    return min(int(prob * BINS), BINS - 1)


class Calibration:
    """Counts of one draft: accepted and refused, by position and bin."""

    def __init__(self) -> None:
        self._accepted = [[0.0] * BINS for _ in range(POSITIONS)]
        self._refused = [[0.0] * BINS for _ in range(POSITIONS)]

    def chance(self, position: int, prob: float) -> float:
        """Return the chance that a token of this probability is accepted once all before it were."""
        place, here = min(position, POSITIONS - 1), bin_of(prob)
        right = sum(row[here] for row in self._accepted)
        wrong = sum(row[here] for row in self._refused)
        anywhere = (right + OWN_WORD * (here + 0.5) / BINS) / (right + wrong + OWN_WORD)
        y, f = self._accepted[place][here], self._refused[place][here]
        return (y + POOLING * anywhere) / (y + f + POOLING)

    def observe(self, probs: Sequence[float], accepted: int, *, refused: bool) -> None:
        """Count a round: the probability of each token, how many were accepted, whether the next was refused."""
        for table in (self._accepted, self._refused):
            for row in table:
                row[:] = [count * FADING for count in row]
        for position, prob in enumerate(probs[:accepted]):
            self._accepted[min(position, POSITIONS - 1)][bin_of(prob)] += 1.0
        if refused and accepted < len(probs):
            self._refused[min(accepted, POSITIONS - 1)][bin_of(probs[accepted])] += 1.0

    def save(self) -> list[list[list[float]]]:
        """Return the counts as JSON-able values."""
        return [[list(row) for row in table] for table in (self._accepted, self._refused)]

    def load(self, saved: object) -> None:
        """Replace the counts by saved ones.

        Raises:
            ValueError: They are damaged; nothing is changed.
        """
        self._accepted, self._refused = (
            [
                [
                    float(check_count(count, "a count of a bin"))
                    for count in check_list(row, "a row of bins", length=BINS)
                ]
                for row in check_list(table, "a table of bins", length=POSITIONS)
            ]
            for table in check_list(saved, "a calibration", length=2)
        )
