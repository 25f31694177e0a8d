"""Ordinary least squares from sums that grow by one observation at a time, and a small solver for them.

With features u (the first of which is 1) and outcomes y, the sums G = sum u u^T and m = sum y u are all that Eq 10
of the ACL 2025 paper needs: Z = (U^T U)^-1 U^T y = G^-1 m. They do not grow with the observations, and those of two
observers add up. A ridge on every weight but the first makes G + ridge solvable from the first observation on: as
long as little is known the prediction stays near the mean outcome, and with a ridge towards 0 it is that of Eq 10.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class LeastSquares:
    """The normal equations of one linear model with `size` features.

    Attributes:
        gram: G by rows, of each only what is not right of the diagonal; its first number counts the observations.
        moment: m.
    """

    __slots__ = ("gram", "moment")

    def __init__(self, size: int) -> None:
        self.gram = [0.0] * triangle(size)
        self.moment = [0.0] * size

    @property
    def count(self) -> float:
        """How many observations there were."""
        return self.gram[0]

    def add(self, features: Sequence[float], outcome: float) -> None:
        """Take in one observation; the first feature is 1."""
        at = 0
        for row, feature in enumerate(features):
            if feature:
                self.moment[row] += outcome * feature
                for column in range(row + 1):
                    self.gram[at + column] += feature * features[column]
            at += row + 1

    def weights(self, ridge: float) -> list[float]:
        """Return Z; needs an observation, and a ridge above 0 while features do not vary independently."""
        rows = [self.gram[triangle(row) : triangle(row + 1)] for row in range(len(self.moment))]
        for row in rows[1:]:
            row[-1] += ridge
        return solve(rows, self.moment)


def triangle(size: int) -> int:
    """Return how many numbers a symmetric matrix of this size is made of."""
    return size * (size + 1) // 2


def solve(rows: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """Solve A x = right by Cholesky's factorisation; `rows` is the lower triangle of a positive definite A.

    Raises:
        ValueError: A is not positive definite.
    """
    factor: list[list[float]] = []
    half: list[float] = []
    for given, wanted in zip(rows, right, strict=True):
        row: list[float] = []
        for above, value in zip(factor, given, strict=False):
            # zip ends with the shorter one: the part of `row` that is known lies left of the diagonal of `above`
            row.append((value - sum(a * b for a, b in zip(row, above, strict=False))) / above[-1])
        pivot = given[-1] - sum(a * a for a in row)
        if pivot <= 0.0:
            raise ValueError("the matrix is not positive definite; raise the ridge")
        row.append(sqrt(pivot))
        half.append((wanted - sum(a * b for a, b in zip(row, half, strict=False))) / row[-1])
        factor.append(row)
    found = half
    for place in reversed(range(len(found))):
        found[place] /= factor[place][-1]
        for before in range(place):
            found[before] -= factor[place][before] * found[place]
    return found
