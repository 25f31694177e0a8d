"""Ordinary least squares from sums that grow by one observation at a time, and the solver for them.

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

    def fit(self, ridge: float) -> Fit:
        """Return the model as it stands; needs an observation, and a ridge above 0 while features vary together."""
        rows = [self.gram[triangle(row) : triangle(row + 1)] for row in range(len(self.moment))]
        for row in rows[1:]:
            row[-1] += ridge
        return Fit(factorise(rows), self.moment)


class Fit:
    """The weights Z of a model, and how much is known in each direction.

    Attributes:
        weights: Z.
    """

    __slots__ = ("_factor", "weights")

    def __init__(self, factor: Sequence[Sequence[float]], moment: Sequence[float]) -> None:
        self._factor = factor
        self.weights = forward(factor, moment)
        for place in reversed(range(len(self.weights))):
            self.weights[place] /= factor[place][-1]
            for before in range(place):
                self.weights[before] -= factor[place][before] * self.weights[place]

    def predict(self, features: Sequence[float]) -> float:
        """Return u^T Z."""
        return sum(feature * weight for feature, weight in zip(features, self.weights, strict=True))

    def spread(self, features: Sequence[float]) -> float:
        """Return sqrt(u^T (G + ridge)^-1 u): the standard error of the prediction if outcomes scatter by 1."""
        return sqrt(sum(part * part for part in forward(self._factor, features)))


def triangle(size: int) -> int:
    """Return how many numbers a symmetric matrix of this size is made of."""
    return size * (size + 1) // 2


def factorise(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the lower triangle of Cholesky's factor of a positive definite matrix, given by its own lower triangle.

    Raises:
        ValueError: The matrix is not positive definite.
    """
    factor: list[list[float]] = []
    for given in rows:
        row = forward(factor, given[:-1])
        pivot = given[-1] - sum(a * a for a in row)
        if pivot <= 0.0:
            raise ValueError("the matrix is not positive definite; raise the ridge")
        factor.append([*row, sqrt(pivot)])
    return factor


def forward(factor: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """Return x with factor x = right, for a lower triangle."""
    found: list[float] = []
    for row, wanted in zip(factor, right, strict=True):
        # zip ends with the shorter one: what is found so far lies left of the diagonal
        found.append((wanted - sum(a * b for a, b in zip(found, row, strict=False))) / row[-1])
    return found
