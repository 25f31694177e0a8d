"""How far chance in the choice of texts may have moved a ratio of times: a bootstrap over texts.

As in `paceline.lab.bench.stats`: texts are drawn with replacement, everything compared keeps its pairing, and the
middle 90 % of the resampled values is given (percentile bootstrap; Efron and Tibshirani 1993, chapter 13). Here all
resamples are one matrix of how often each text was drawn, because there are many numbers to give intervals for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paceline.lab.bench.stats import RESAMPLES, Ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEWEST = 3
"""With fewer texts there is no interval."""


class Resamples:
    """Draws of texts, the same for everything that is compared on them.

    Args:
        count: How many texts there are.
        resamples: How many times so many are drawn.
        seed: Of the draws.
    """

    def __init__(self, count: int, *, resamples: int = RESAMPLES, seed: int = 0) -> None:
        self._count = count
        draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=resamples)
        # The first row is the texts as they are.
        self._weights = np.concatenate([np.ones((1, count)), draws])

    def of(self, statistic: Callable[..., Floats], *amounts: Sequence[float]) -> Ratio | None:
        """Return a function of sums over texts, with its interval.

        Args:
            statistic: From the sums of all amounts, as arrays over the draws, to its values.
            amounts: One number a text each, in the same order throughout.

        Returns:
            None where it has no value on the texts as they are; draws on which it has none are left out.
        """
        sums = [self._weights @ np.asarray(amount, np.float64) for amount in amounts]
        with np.errstate(divide="ignore", invalid="ignore"):
            values = statistic(*sums)
        if not np.isfinite(values[0]):
            return None
        drawn = values[1:][np.isfinite(values[1:])]
        if self._count < FEWEST or not len(drawn):
            return Ratio(float(values[0]))
        low, high = np.quantile(drawn, [0.05, 0.95])
        return Ratio(float(values[0]), float(low), float(high))


def over(base: Floats, other: Floats) -> Floats:
    """Return how many times faster `other` is than `base`: the ratio of their times."""
    return base / other


def captured(base: Floats, other: Floats, best: Floats) -> Floats:
    """Return the share of the time between `base` and `best` that `other` saves; without a value where there is none.

    (T_base - T) / (T_base - T_best): 0 is the base, 1 the optimum; below 0, `other` is slower than the base.
    """
    way = base - best
    # What rounding leaves of no way at all is none.
    return np.where(way > 1e-9 * base, (base - other) / way, np.nan)
