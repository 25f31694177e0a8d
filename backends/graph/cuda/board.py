"""A proposal as it lies on the device: one row of numbers, the same whoever made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paceline.backends.graph.cuda.signals import MEASURED

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """Count, tokens, signals.

    Attributes:
        numbers: float64, shape (size(largest),).
        largest: The most tokens.
    """

    numbers: torch.Tensor
    largest: int

    @staticmethod
    def size(largest: int) -> int:
        """Return how many numbers a proposal of so many tokens has."""
        return 1 + largest + largest * len(MEASURED)

    @property
    def count(self) -> torch.Tensor:
        """How many tokens are proposed, shape (1,)."""
        return self.numbers[:1]

    @property
    def tokens(self) -> torch.Tensor:
        """The tokens, shape (largest,); beyond `count` is whatever was there."""
        return self.numbers[1 : 1 + self.largest]

    @property
    def signals(self) -> torch.Tensor:
        """The signals, shape (largest, signals)."""
        return self.numbers[1 + self.largest :].view(self.largest, len(MEASURED))


def read(numbers: Sequence[float], largest: int) -> tuple[tuple[int, ...], list[Sequence[float]]]:
    """Return tokens and rows of signals of a board that was copied to the host."""
    count, width = int(numbers[0]), len(MEASURED)
    first = 1 + largest
    rows = [numbers[first + place * width : first + (place + 1) * width] for place in range(count)]
    return tuple(map(int, numbers[1 : 1 + count])), rows
