"""Features of prompts, and one linear model of accuracy for each draft, learnt from finished requests."""

from __future__ import annotations

from collections import Counter
from math import isfinite, log, sqrt
from typing import TYPE_CHECKING, Any

from paceline.policies.state import check_count, check_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from paceline.core.records import RoundStart


class LeastSquares:
    """The normal equations of one linear model with `size` features.

    With features u (the first of which is 1) and outcomes y, the sums G = sum u u^T and m = sum y u are all that Eq 10
    of the ACL 2025 paper needs: Z = (U^T U)^-1 U^T y = G^-1 m. They do not grow with the observations, and those of two
    observers add up. A ridge on every weight but the first makes G + ridge solvable from the first observation on: as
    long as little is known the prediction stays near the mean outcome, and with a ridge towards 0 it is that of Eq 10.

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
    found: list[float] = []
    for row, wanted in zip(factor, right, strict=True):
        # zip ends with the shorter one: what is found so far lies left of the diagonal
        found.append((wanted - sum(a * b for a, b in zip(found, row, strict=False))) / row[-1])
    return found


SPREAD = 0x9E3779B1  # the golden ratio times 2^32, made odd: neighbouring ids land far apart


def bucket(token: int, buckets: int) -> int:
    """Return the bucket of a token, the same in every process."""
    return ((token * SPREAD & 0xFFFFFFFF) * buckets) >> 32


class TfIdf:
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

    __slots__ = ("frequencies", "prompts")

    def __init__(self, buckets: int) -> None:
        self.prompts = 0.0
        self.frequencies = [0.0] * buckets

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


class Prompts:
    """Sums over prompts and requests; all of them add up between instances.

    Args:
        buckets: Of TF-IDF.
        ridge: See `LeastSquares`.

    Attributes:
        size: Number of features.
        tried: How many requests each draft was given.
    """

    def __init__(self, buckets: int, ridge: float) -> None:
        self.size = FIRST + buckets
        self.tried: dict[str, float] = {}
        self._ridge = ridge
        self._words = TfIdf(buckets)
        self._models: dict[str, LeastSquares] = {}
        self._fits: dict[str, Fit] = {}  # of the models that have not changed since

    def read(self, start: RoundStart) -> list[float]:
        """Count a prompt in, and return its features."""
        told = start.perplexity
        surprise = log(told) if told is not None and isfinite(told) and told > 1.0 else 0.0
        return [1.0, log(max(start.context, 1)), surprise, *self._words.read(start.tokens)]

    def seen(self, draft: str) -> bool:
        """Tell whether a request of this draft was learnt from."""
        return draft in self._models

    def learn(self, draft: str, features: list[float], accuracy: float) -> None:
        """Take in one finished request."""
        self._model(draft).add(features, accuracy)
        self._fits.pop(draft, None)

    def predict(self, draft: str, features: list[float], optimism: float) -> float:
        """Return u^T Z of a draft plus so many standard errors' worth of hope; 0 while nothing was seen of it."""
        model = self._models.get(draft)
        if model is None:
            return 0.0
        if draft not in self._fits:
            self._fits[draft] = model.fit(self._ridge)
        fit = self._fits[draft]
        return fit.predict(features) + (optimism * fit.spread(features) if optimism else 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Return all sums."""
        return {
            "prompts": self._words.prompts,
            "frequencies": list(self._words.frequencies),
            "tried": dict(self.tried),
            "models": {draft: [list(one.gram), list(one.moment)] for draft, one in self._models.items()},
        }

    def load_state_dict(self, state: object) -> None:
        """Replace all sums; to be called on a fresh instance, since a refusal may leave it half filled.

        Raises:
            ValueError: The state is damaged or of another number of features.
        """
        parts = [state.get(key) for key in ("tried", "models")] if isinstance(state, dict) else []
        if not isinstance(state, dict) or not all(isinstance(part, dict) for part in parts):
            raise ValueError("the saved state is damaged: known is not a mapping of sums")
        self._words.prompts = float(check_count(state.get("prompts"), "prompts"))
        self._words.frequencies = _numbers(state.get("frequencies"), "frequencies", self.size - FIRST)
        for draft, count in state["tried"].items():
            self.tried[str(draft)] = float(check_count(count, f"the requests given to draft {draft!r}"))
        for draft, saved in state["models"].items():
            gram, moment = check_list(saved, f"the model of draft {draft!r}", length=2)
            model = self._model(str(draft))
            model.gram = _numbers(gram, f"the sums of draft {draft!r}", triangle(self.size))
            model.moment = _numbers(moment, f"the sums of draft {draft!r}", self.size)
            if model.count <= 0.0:
                raise ValueError(f"the saved state is damaged: the model of draft {draft!r} saw no request")

    def export(self) -> dict[str, float]:
        """Return the sums that are not 0, under keys "draft/kind/place"; those of no draft have none before the "/"."""
        lists = {"/prompts": [self._words.prompts], "/frequencies": self._words.frequencies}
        lists |= {f"{draft}/tried": [count] for draft, count in self.tried.items()}
        for draft, model in self._models.items():
            lists |= {f"{draft}/gram": model.gram, f"{draft}/moment": model.moment}
        return {f"{key}/{place}": one for key, sums in lists.items() for place, one in enumerate(sums) if one}

    def absorb(self, statistics: Mapping[str, float]) -> None:
        """Add the sums of another instance.

        Raises:
            ValueError: A key or a number is not one that `export` writes; nothing is changed.
        """
        for draft, kind, place, amount in list(self._entries(statistics)):
            if kind == "prompts":
                self._words.prompts += amount
            elif kind == "frequencies":
                self._words.frequencies[place] += amount
            elif kind == "tried":
                self.tried[draft] = self.tried.get(draft, 0.0) + amount
            else:
                sums: list[float] = getattr(self._model(draft), kind)
                sums[place] += amount
        self._fits.clear()

    def _entries(self, statistics: Mapping[str, float]) -> Iterator[tuple[str, str, int, float]]:
        """Yield draft, kind, place and amount of each sum; a draft must bring the count of its requests."""
        sizes = {"tried": 1, "gram": triangle(self.size), "moment": self.size}
        common = {"prompts": 1, "frequencies": self.size - FIRST}
        for key, amount in statistics.items():
            draft, _, kind = (rest := key.rpartition("/"))[0].rpartition("/")
            size = (sizes if draft else common).get(kind, 0)
            if not rest[2].isdecimal() or int(rest[2]) >= size:
                raise ValueError(
                    f"{key!r} is no statistic of this policy with these options; keys look like 'draft/gram/0'"
                )
            if kind in {"gram", "moment"} and not statistics.get(f"{draft}/gram/0"):
                raise ValueError(
                    f"{key!r} comes without {draft + '/gram/0'!r}, the number of requests it is from"
                )
            yield draft, kind, int(rest[2]), check_count(amount, key)

    def _model(self, draft: str) -> LeastSquares:
        if draft not in self._models:
            self._models[draft] = LeastSquares(self.size)
        return self._models[draft]


def _numbers(saved: object, what: str, length: int) -> list[float]:
    return [float(check_count(one, what)) for one in check_list(saved, what, length=length)]
