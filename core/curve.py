"""Verification time as a function of block length and context, learnt from noisy timings.

    seconds(length, context) = level(length) + slope * context

`level` is the median of recent timings where there are some, and a line fitted through them elsewhere. It is made never
to decrease with length by isotonic regression (pool adjacent violators, Ayer et al. 1955): where a longer block was
measured as cheaper than a shorter one, as with kernels that favour some lengths, both get their weighted mean, so that
the longer one, which yields more, is not made to look dear. Length 1 stands apart from the line: one row is a
matrix-vector product, which engines run by another path, so the step from 1 to 2 tokens says nothing about the step
from 2 to 3.
"""

from __future__ import annotations

from collections import deque
from itertools import accumulate
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MEMORY = 15
"""Timings kept for each length: a median over them shrugs off a third of outliers and still follows change."""

HALF_LIFE = 128
"""Rounds after which the timings of a length that is no longer used count half; the fitted line takes over."""

PRIOR_SLOPE = 0.04
"""One more token costs this share of a block until two lengths were seen: verification is nearly flat."""

PRIOR_WEIGHT = 4.0
"""The prior slope counts as much as this many timings one token away from the mean length."""

UNSEEN_WEIGHT = 0.5
"""A length without timings counts as this many on the fitted line."""

CONTEXT_RIDGE = 64.0 * 64.0 * 8
"""Spread of contexts (tokens squared) that must be seen before the context slope is trusted half."""

REFIT_CONTEXT = 16
"""Rounds between two looks at the context slope, because changing it touches every length."""

YOUNG = 32
"""Until so many timings are known each one moves the curve."""

REFIT = 4
"""Afterwards one in so many does, because fitting takes as long as a decision."""

LENGTHS = 17
"""Lengths that are fitted before anybody asks for longer ones: blocks of the usual largest gamma."""


class _Timings:
    """The recent timings of one block length."""

    __slots__ = ("context_mean", "level", "pairs", "seen_at", "warm")

    def __init__(self) -> None:
        self.pairs: deque[tuple[int, float]] = deque(maxlen=MEMORY)
        self.warm = False
        self.seen_at = 0
        self.level = 0.0
        self.context_mean = 0.0

    def add(self, context: int, seconds: float) -> None:
        if len(self.pairs) == 1 and not self.warm:
            self.pairs.clear()
            self.warm = True
        self.pairs.append((context, seconds))

    def settle(self, slope: float) -> None:
        self.level = max(0.0, median([seconds - slope * context for context, seconds in self.pairs]))

    def weight(self, now: int) -> float:
        return float(len(self.pairs) * 0.5 ** ((now - self.seen_at) / HALF_LIFE))


class Curve:
    """Learns seconds(length, context); lengths count from 1."""

    def __init__(self) -> None:
        self._timings: dict[int, _Timings] = {}
        self._count = 0
        self._slope = 0.0
        self._sxx = self._sxy = 0.0
        self._levels = self._fit(LENGTHS)

    def add(self, length: int, context: int, seconds: float) -> None:
        """Learn that a block of `length` tokens after `context` tokens took `seconds`."""
        self._count += 1
        timings = self._timings.setdefault(length, _Timings())
        self._learn_slope(timings, context, seconds)
        timings.add(context, seconds)
        timings.seen_at = self._count
        if self._count % REFIT_CONTEXT == 0:
            self._slope = max(0.0, self._sxy / (self._sxx + CONTEXT_RIDGE))
            for other in self._timings.values():
                other.settle(self._slope)
        else:
            timings.settle(self._slope)
        if self._count <= YOUNG or self._count % REFIT == 0:
            self._levels = self._fit(len(self._levels))

    def at(self, length: int, context: int) -> float:
        """Return the expected seconds of a block; 1.0 for a single token when nothing is known."""
        if len(self._levels) < length:
            self._levels = self._fit(length)
        return self._levels[length - 1] + self._slope * context

    def up_to(self, longest: int, context: int) -> tuple[Sequence[float], float]:
        """Return the levels of at least the lengths 1..longest, and what `context` adds to each."""
        if len(self._levels) < longest:
            self._levels = self._fit(longest)
        return self._levels, self._slope * context

    def _learn_slope(self, timings: _Timings, context: int, seconds: float) -> None:
        # Regression within each length, pooled: what differs between lengths must not look like context.
        if not timings.pairs:
            timings.context_mean = float(context)
            return
        expected = timings.level + self._slope * timings.context_mean
        off = context - timings.context_mean
        clipped = min(max(seconds, 0.5 * expected), 2.0 * expected) - expected
        self._sxx = 0.99 * self._sxx + off * off
        self._sxy = 0.99 * self._sxy + off * clipped
        timings.context_mean += 0.1 * off

    def _fit(self, longest: int) -> list[float]:
        """Return the levels of lengths 1..longest, measured where measured, fitted elsewhere, never decreasing."""
        blocks = [(n, t.level, t.weight(self._count)) for n, t in self._timings.items() if n > 1]
        plain = self._timings.get(1)
        if not blocks:
            level = plain.level if plain else 1.0
            return [level * (1 + PRIOR_SLOPE * n) for n in range(longest)]
        # Weighted least squares with the slope pulled towards the prior.
        total = sum(w for _, _, w in blocks)
        mean_n = sum(n * w for n, _, w in blocks) / total
        mean_t = sum(t * w for _, t, w in blocks) / total
        sxx = sum(w * (n - mean_n) ** 2 for n, _, w in blocks)
        sxy = sum(w * (n - mean_n) * (t - mean_t) for n, t, w in blocks)
        slope = max(0.0, (sxy + PRIOR_WEIGHT * PRIOR_SLOPE * mean_t) / (sxx + PRIOR_WEIGHT))
        points = []
        seen = max(self._timings)
        for n in range(1, seen + 1):
            line = max(0.0, mean_t + slope * (n - mean_n))
            timings = self._timings.get(n)
            weight = UNSEEN_WEIGHT
            if timings:
                weight += timings.weight(self._count)
                trust = 1.0 if n == 1 else 1.0 - UNSEEN_WEIGHT / weight
                line += trust * (timings.level - line)
            points.append((line, weight))
        # What lies beyond the longest block seen must not move what was measured.
        beyond = (max(0.0, mean_t + slope * (n - mean_n)) for n in range(seen + 1, longest + 1))
        return list(accumulate([*_never_decreasing(points), *beyond], max))


def _never_decreasing(points: list[tuple[float, float]]) -> list[float]:
    """Return the never decreasing values that lie closest to weighted ones, in the sense of least squares."""
    pools: list[tuple[float, float, int]] = []
    for point in points:
        value, weight, count = *point, 1
        while pools and pools[-1][0] > value:
            before, heavier, more = pools.pop()
            value = (before * heavier + value * weight) / (heavier + weight)
            weight += heavier
            count += more
        pools.append((value, weight, count))
    return [value for value, _, count in pools for _ in range(count)]
