"""Levels of every block length from those that were timed.

A level is held to those of other lengths that jumped after it was timed (`bound_by_newer`).
A line is fitted through them, and each is drawn to it as far as its timings are few or noisy. Levels are made never to
decrease with length by isotonic regression (pool adjacent violators, Ayer et al. 1955): where a longer block was
measured as cheaper than a shorter one, as with kernels that favour some lengths, both get their weighted mean, so that
the longer one, which yields more, is not made to look dear. Length 1 stands apart from the line: one row is a
matrix-vector product, which engines run by another path, so the step from 1 to 2 tokens says nothing about the step
from 2 to 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from typing import NamedTuple

PRIOR_SLOPE = 0.04
"""One more token costs this share of a block until two lengths were seen: verification is nearly flat."""

PRIOR_WEIGHT = 4.0
"""The prior slope counts as much as this many timings one token away from the mean length."""

UNSEEN_WEIGHT = 0.5
"""A length without timings counts as this many on the fitted line."""

IRREGULAR = 0.05
"""Distance of lengths from the line, as a share: kernels favour some. Timings noisier than this are drawn to it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line over block lengths."""

    start: float
    step: float

    def at(self, length: int) -> float:
        """Return the level of a length, at least 0."""
        return max(0.0, self.start + self.step * length)


class Level(NamedTuple):
    """Knowledge about a length that was timed.

    Attributes:
        level: Seconds without context, on the machine as it was at first.
        weight: Timings that count for it.
        seen_at, jumped_at: The rounds of its last timing, and of its last jump.
    """

    level: float
    weight: float
    seen_at: int = 0
    jumped_at: int = 0


def bound_by_newer(known: Mapping[int, Level], noise: float) -> dict[int, Level]:
    """Return levels held to those that jumped since they were timed, where they contradict them beyond noise.

    A longer block takes no less time than a shorter one, and no more than in proportion to its tokens. So what became
    dearer or cheaper is not taken to have left alone what was not timed since.

    Args:
        known: For each length that was timed.
        noise: The factor within which timings agree.
    """
    bounded: dict[int, Level] = {}
    for n, old in sorted(known.items(), key=lambda item: (item[1].seen_at, item[0]), reverse=True):
        low, high = 0.0, inf
        for m, newer in bounded.items():
            if newer.jumped_at > old.seen_at:
                ends = newer.level, newer.level * n / m
                low, high = max(low, min(ends)), min(high, max(ends))
        fits = low / noise <= old.level <= high * noise
        bounded[n] = old if fits else old._replace(level=min(max(old.level, low), high))
    return bounded


def fit_levels(known: Mapping[int, Level], spread: float, longest: int) -> tuple[list[float], Line]:
    """Return the levels of lengths 1..longest or more, never decreasing, and the line for longer ones.

    Args:
        known: For each length that was timed.
        spread: The usual deviation of a timing, as a share.
        longest: The longest length wanted.
    """
    blocks = [(n, own.level, own.weight) for n, own in known.items() if n > 1 and own.weight > 0.0]
    if not blocks:
        level = known[1].level if 1 in known else 1.0
        line = Line(level * (1.0 - PRIOR_SLOPE), level * PRIOR_SLOPE)
        return [line.at(n) for n in range(1, longest + 1)], line
    # Weighted least squares with the slope pulled towards the prior.
    total = sum(w for _, _, w in blocks)
    mean_n = sum(n * w for n, _, w in blocks) / total
    mean_t = sum(t * w for _, t, w in blocks) / total
    sxx = sum(w * (n - mean_n) ** 2 for n, _, w in blocks)
    sxy = sum(w * (n - mean_n) * (t - mean_t) for n, t, w in blocks)
    slope = max(0.0, (sxy + PRIOR_WEIGHT * PRIOR_SLOPE * mean_t) / (sxx + PRIOR_WEIGHT))
    line = Line(mean_t - slope * mean_n, slope)
    noisy = max((spread / IRREGULAR) ** 2, UNSEEN_WEIGHT)
    points = []
    timed = max(known)
    for n in range(1, timed + 1):
        level, own, *_ = known.get(n, Level(0.0, 0.0))
        trust = 1.0 if n == 1 and n in known else own / (own + noisy)
        # A length that was never timed says nothing about plain decoding.
        fitted = max(line.at(n), known[1].level) if n not in known and 1 in known else line.at(n)
        points.append((fitted + trust * (level - fitted), UNSEEN_WEIGHT + own))
    # What lies beyond the longest block that was timed must not move what was measured.
    beyond = (line.at(n) for n in range(timed + 1, longest + 1))
    return list(accumulate([*_never_decreasing(points), *beyond], max)), line


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
