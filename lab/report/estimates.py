"""Ratios of times over texts, with a percentile bootstrap over the texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paceline.lab.report.findings import Estimate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

RESAMPLES = 2000
FEWEST = 3
LEVEL = 0.95


class Times:
    """Seconds of each text under each policy, on the same texts, resampled together.

    Texts are drawn with replacement, and all policies keep their pairing, so that a ratio of two of them does not
    carry the differences between texts (Efron and Tibshirani 1993, chapter 13). The middle 95 % is given.
    """

    def __init__(
        self, seconds: Mapping[str, Mapping[str, float]], texts: Sequence[str], *, seed: int = 0
    ) -> None:
        self.texts = tuple(texts)
        self._of = {label: np.array([by[text] for text in self.texts]) for label, by in seconds.items()}
        many = len(self.texts)
        draws = np.random.default_rng(seed).multinomial(many, np.full(many, 1.0 / many), size=RESAMPLES)
        self._draws = draws.astype(np.float64)

    def total(self, label: str) -> float:
        """Return the seconds of all texts."""
        return float(self._of[label].sum())

    def each(self, label: str) -> NDArray[np.float64]:
        """Return the seconds of each text."""
        return self._of[label]

    def speedup(self, label: str, over: str) -> Estimate:
        """Return how many times faster `label` is: the ratio of total times."""
        drawn = (self._draws @ self._of[over]) / (self._draws @ self._of[label])
        return self._estimate(self.total(over) / self.total(label), drawn)

    def captured(self, label: str, base: str, best: str) -> Estimate | None:
        """Return the share of the way from the rate of `base` to that of `best`; None where there is no way to go.

        (v - v_base) / (v_best - v_base) for rates v; below 0 where `label` is slower than `base`.
        """
        rates = {one: 1.0 / self.total(one) for one in (label, base, best)}
        if rates[best] <= rates[base] * (1.0 + 1e-9):
            return None
        value = (rates[label] - rates[base]) / (rates[best] - rates[base])
        drawn = {one: 1.0 / (self._draws @ self._of[one]) for one in (label, base, best)}
        way = drawn[best] - drawn[base]
        way = np.where(way > 0.0, way, np.nan)
        shares = (drawn[label] - drawn[base]) / way
        return self._estimate(value, shares[~np.isnan(shares)])

    def _estimate(self, value: float, drawn: NDArray[np.float64]) -> Estimate:
        if len(self.texts) < FEWEST or not len(drawn):
            return Estimate(value)
        low, high = np.quantile(drawn, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
        return Estimate(value, float(low), float(high))
