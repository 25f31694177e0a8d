"""What finished requests taught about prompts and drafts: features, and one linear model of accuracy for each draft."""

from __future__ import annotations

from math import isfinite, log
from typing import TYPE_CHECKING, Any

from paceline.policies.drafts.least_squares import Fit, LeastSquares, triangle
from paceline.policies.drafts.tf_idf import TfIdf
from paceline.policies.state import check_count, check_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from paceline.core.records import RoundStart

FIRST = 3  # features before those of TF-IDF: 1, log length, log perplexity


class Prompts:
    """Sums over prompts and requests; all of them add up between instances.

    Args:
        buckets: Of TF-IDF.
        ridge: See `least_squares`.

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
