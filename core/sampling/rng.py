"""The source of chance: all draws of a session come from one generator."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Protocol


class Rng(Protocol):
    """Decides what is left to chance."""

    def accept(self, probability: float) -> bool:
        """Return True with a probability from 0 to 1."""
        ...

    def draw(self, weights: Sequence[float]) -> int:
        """Return an index with a probability proportional to its weight; weights are not negative, not all 0."""
        ...


class SeededRng:
    """Pseudo-random numbers, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def accept(self, probability: float) -> bool:
        """Return True with this probability."""
        return self._random.random() < probability

    def draw(self, weights: Sequence[float]) -> int:
        """Return an index with a probability proportional to its weight."""
        return self._random.choices(range(len(weights)), weights)[0]
