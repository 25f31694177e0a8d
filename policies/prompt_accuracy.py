"""Features of prompts, and one linear model of accuracy for each draft, learnt from finished requests."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from math import isfinite, log, sqrt
from typing import TYPE_CHECKING

from paceline.core.state.declared import Amount, PolicyState, Summed, Unsaved

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paceline.core.records import RoundStart


@dataclass(slots=True)
class LeastSquares(PolicyState):
    """The normal equations of one linear model with `size` features.

    With features u (the first of which is 1) and outcomes y, the sums G = sum u u^T and m = sum y u are all that Eq 10
    of the ACL 2025 paper needs: Z = (U^T U)^-1 U^T y = G^-1 m. They do not grow with the observations, and those of two
    observers add up. A ridge on every weight but the first makes G + ridge solvable from the first observation on: as
    long as little is known the prediction stays near the mean outcome, and with a ridge towards 0 it is that of Eq 10.

    Attributes:
        gram: G by rows, of each only what is not right of the diagonal; its first number counts the observations.
        moment: m.
    """

    size: Unsaved[int]
    gram: Summed[list[Amount]] = field(init=False)
    moment: Summed[list[Amount]] = field(init=False)

    def __post_init__(self) -> None:
        self.gram = [0.0] * triangle(self.size)
        self.moment = [0.0] * self.size

    def check(self) -> None:
        """Check that the number of observations is known."""
        if self.count <= 0.0:
            raise ValueError("a saved state or a statistic is of a model that saw no request")

    @property
    def count(self) -> float:
        """Number of observations."""
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
    solved: list[float] = []
    for row, target in zip(factor, right, strict=True):
        # zip ends with the shorter one: what is solved so far lies left of the diagonal
        solved.append((target - sum(a * b for a, b in zip(solved, row, strict=False))) / row[-1])
    return solved


SPREAD = 0x9E3779B1  # the golden ratio times 2^32, made odd: neighbouring ids land far apart


def bucket(token: int, buckets: int) -> int:
    """Return the bucket of a token, the same in every process."""
    return ((token * SPREAD & 0xFFFFFFFF) * buckets) >> 32


@dataclass(slots=True)
class TfIdf(PolicyState):
    """Counts in how many prompts each bucket occurred.

    Tokens are hashed into r buckets (feature hashing, Weinberger et al. 2009, https://arxiv.org/abs/0902.2206, without
    the signs, since counts must not cancel). With tf the share of a prompt's tokens that fall into a bucket, N the
    prompts so far, this one included, and df those of them with a token there,

        idf = 1 + ln((1 + N) / (1 + df))          v = tf idf, divided by its Euclidean length

    which is the smoothed form of scikit-learn (https://scikit-learn.org/stable/modules/feature_extraction.html). The
    ACL 2025 paper names TF-IDF as a feature of a prompt and says neither over which terms nor from which corpus.

    Attributes:
        prompts: N.
        frequencies: df of each bucket.
    """

    buckets: Unsaved[int]
    prompts: Summed[Amount] = 0.0
    frequencies: Summed[list[Amount]] = field(init=False)

    def __post_init__(self) -> None:
        self.frequencies = [0.0] * self.buckets

    def read(self, tokens: Iterable[int]) -> list[float]:
        """Count a prompt in, and return its vector, which is all zeros for a prompt without tokens."""
        size = len(self.frequencies)
        counts = [0] * size
        for token, count in Counter(tokens).items():
            counts[bucket(token, size)] += count
        self.prompts += 1.0
        for place, count in enumerate(counts):
            self.frequencies[place] += count > 0
        vector = [
            count * (1.0 + log((1.0 + self.prompts) / (1.0 + seen))) if count else 0.0
            for count, seen in zip(counts, self.frequencies, strict=True)
        ]
        length = sqrt(sum(value * value for value in vector))
        return [value / length for value in vector] if length else vector


FIRST = 3  # features before those of TF-IDF: 1, log length, log perplexity


@dataclass(slots=True)
class Prompts(PolicyState):
    """Sums over prompts and requests; all of them add up between instances.

    Attributes:
        buckets: Of TF-IDF.
        ridge: See `LeastSquares`.
        size: Number of features.
        tried: How many requests each draft was given.
        fits: Of the models that have not changed since.
    """

    buckets: Unsaved[int]
    ridge: Unsaved[float]
    words: Summed[TfIdf] = field(init=False)
    tried: Summed[dict[str, Amount]] = field(default_factory=partial(defaultdict, float))
    models: Summed[defaultdict[str, LeastSquares]] = field(init=False)
    fits: Unsaved[dict[str, Fit]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.words = TfIdf(self.buckets)
        self.models = defaultdict(partial(LeastSquares, self.size))

    @property
    def size(self) -> int:
        """Number of features."""
        return FIRST + self.buckets

    def read(self, start: RoundStart) -> list[float]:
        """Count a prompt in, and return its features."""
        perplexity = start.perplexity
        surprise = (
            log(perplexity) if perplexity is not None and isfinite(perplexity) and perplexity > 1.0 else 0.0
        )
        return [1.0, log(max(start.context, 1)), surprise, *self.words.read(start.tokens)]

    def seen(self, draft: str) -> bool:
        """Tell whether a request of this draft was learnt from."""
        return draft in self.models

    def learn(self, draft: str, features: list[float], accuracy: float) -> None:
        """Take in one finished request."""
        self.models[draft].add(features, accuracy)
        self.fits.pop(draft, None)

    def predict(self, draft: str, features: list[float], optimism: float) -> float:
        """Return u^T Z of a draft plus so many standard errors' worth of hope; 0 while nothing was seen of it."""
        model = self.models.get(draft)
        if model is None:
            return 0.0
        if draft not in self.fits:
            self.fits[draft] = model.fit(self.ridge)
        fit = self.fits[draft]
        return fit.predict(features) + (optimism * fit.spread(features) if optimism else 0.0)
