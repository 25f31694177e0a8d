"""The fit of a latency profile to measured rounds.

Rounds on a machine that does other things as well have a long tail of slow ones, so each time is the mean of the middle
half of its measurements, which shrugs off a quarter of outliers on either side and needs fewer than a median does. But
a text takes its slow rounds as well: verifying, each draft and the loop are then scaled so that they add up to what all
rounds together took. That needs many rounds to be sure of, and there are many for the whole.
Verification never decreases with the length of a block, nor drafting with gamma, nor catching up with the lag: what was
measured otherwise is pooled (isotonic regression by pooling adjacent violators, Ayer et al. 1955).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from paceline.lab.recording.latency import DraftTimes, LatencyProfile

if TYPE_CHECKING:
    from paceline.core.records import Round

NEAR = 4
"""Rounds with no more lag than this tell how long drafting takes, once what the lag adds is known and taken off."""

PAIRS = 500
"""Pairs of rounds that the slope in the context is the median of, for each length of block."""

SLOWEST = 10.0
"""A round counts as at most so many times what was expected: the machine was asleep, or somewhere else."""

APART = 16
"""Tokens of context that such a pair must differ by, or noise is divided by next to nothing."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One round that was taken.

    Attributes:
        draft: The draft that was asked; None in a plain round.
        drafted, lag, context: As in `Round`.
        looked: Whether signals were looked at.
        draft_s, verify_s: As in `Round`.
        rest_s: What the caller waited besides, where that tells of the loop alone: not in the first round of a text,
            which reads the prompt, nor under a policy that takes its time.
    """

    draft: str | None
    drafted: int
    lag: int
    context: int
    looked: bool
    draft_s: float
    verify_s: float
    rest_s: float | None

    @classmethod
    def of(cls, done: Round, rest_s: float | None = None) -> Timing:
        """Return the timing of a finished round."""
        draft = done.plan.draft if done.plan.gamma else None
        looked = bool(done.signals)
        return cls(draft, done.drafted, done.lag, done.context, looked, done.draft_s, done.verify_s, rest_s)

    def to_json(self) -> list[Any]:
        """Return the values as a list, times in microseconds."""
        rest = None if self.rest_s is None else round(self.rest_s * 1e6, 1)
        times = [round(self.draft_s * 1e6, 1), round(self.verify_s * 1e6, 1), rest]
        return [self.draft, self.drafted, self.lag, self.context, int(self.looked), *times]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> Timing:
        """Return the timing that `to_json` made these values from."""
        draft, drafted, lag, context, looked, draft_us, verify_us, rest_us = values
        rest_s = None if rest_us is None else rest_us / 1e6
        return cls(draft, drafted, lag, context, bool(looked), draft_us / 1e6, verify_us / 1e6, rest_s)


def fit(timings: Sequence[Timing], drafts: Iterable[str]) -> LatencyProfile | None:
    """Return what the rounds took; None while a draft, or verifying, was not measured yet.

    Args:
        timings: Of rounds that tried everything.
        drafts: The names of all drafts.
    """
    fitted = {name: _draft([timing for timing in timings if timing.draft == name]) for name in drafts}
    rests = [timing.rest_s for timing in timings if timing.rest_s is not None]
    if not rests or any(times is None for times in fitted.values()):
        return None
    context = round(median(timing.context for timing in timings))
    slope = _context_slope(timings)
    levels = grouped(
        (timing.drafted + 1, timing.verify_s - slope * (timing.context - context)) for timing in timings
    )
    profile = LatencyProfile(
        verify=rising(levels),
        context=context,
        context_s=slope,
        drafts={name: times for name, times in fitted.items() if times is not None},
        overhead_s=centre(rests),
    )
    took = [(timing.verify_s, profile.verify_s(timing.drafted + 1, timing.context)) for timing in timings]
    scale = _scale(took)
    return replace(
        profile,
        verify={length: scale * seconds for length, seconds in profile.verify.items()},
        context_s=scale * slope,
        overhead_s=profile.overhead_s * _scale([(rest, profile.overhead_s) for rest in rests]),
    )


def _scale(pairs: Iterable[tuple[float, float]]) -> float:
    """Return how many times what was expected was taken, over all rounds; pairs are seconds taken and expected."""
    listed = list(pairs)
    expected = sum(seconds for _, seconds in listed)
    return sum(min(taken, SLOWEST * seconds) for taken, seconds in listed) / expected if expected else 1.0


def centre(values: Sequence[float]) -> float:
    """Return the mean of the middle of some values."""
    cut = len(values) // 4
    return fmean(sorted(values)[cut : len(values) - cut])


def _draft(timings: Sequence[Timing]) -> DraftTimes | None:
    """Return the times of one draft: at the least lag that was measured, and what more lag and looking add."""
    unseen = [timing for timing in timings if not timing.looked] or timings
    if not unseen:
        return None
    least = min(timing.lag for timing in unseen)
    tokens = rising(grouped((timing.drafted, timing.draft_s) for timing in unseen if timing.lag == least))
    bare = DraftTimes(tokens, {})
    behind = [timing for timing in unseen if timing.lag > least]
    catch_up = _catch_up(
        [(timing.lag, timing.draft_s - bare.seconds(timing.drafted, timing.lag)) for timing in behind]
    )
    lagging = DraftTimes({1: 0.0}, catch_up)
    near = [timing for timing in unseen if timing.lag <= max(NEAR, least)]
    tokens = rising(
        grouped((timing.drafted, timing.draft_s - lagging.seconds(0, timing.lag)) for timing in near)
    )
    known = DraftTimes(tokens, catch_up)
    looks = [
        (timing.draft_s - known.seconds(timing.drafted, timing.lag)) / timing.drafted
        for timing in timings
        if timing.looked and timing.drafted and timing.lag <= max(1, least)
    ]
    scale = _scale([(timing.draft_s, known.seconds(timing.drafted, timing.lag)) for timing in unseen])
    return DraftTimes(
        {count: scale * seconds for count, seconds in tokens.items()},
        {lag: scale * seconds for lag, seconds in catch_up.items()},
        scale * max(0.0, centre(looks)) if looks else 0.0,
    )


def _catch_up(excesses: Sequence[tuple[int, float]]) -> dict[int, float]:
    """Return what catching up adds: by lag, the middle one of those from each power of 2 to the next."""
    bins: dict[int, list[tuple[int, float]]] = {}
    for lag, seconds in excesses:
        bins.setdefault((lag - 1).bit_length(), []).append((lag, seconds))
    points = {
        round(median(lag for lag, _ in excess)): [seconds for _, seconds in excess]
        for excess in bins.values()
    }
    return rising({lag: [max(0.0, centre(seconds))] * len(seconds) for lag, seconds in points.items()})


def _context_slope(timings: Sequence[Timing]) -> float:
    """Return the seconds that a token of context adds to verification (Theil 1950, Sen 1968), within equal lengths."""
    by_length: dict[int, list[Timing]] = {}
    for timing in timings:
        by_length.setdefault(timing.drafted, []).append(timing)
    random = Random(0)
    slopes: list[float] = []
    for group in by_length.values():
        for _ in range(min(PAIRS, len(group) * (len(group) - 1) // 2)):
            left, right = random.sample(group, 2)
            if abs(left.context - right.context) >= APART:
                slopes.append((left.verify_s - right.verify_s) / (left.context - right.context))
    return max(0.0, median(slopes)) if slopes else 0.0


def grouped(pairs: Iterable[tuple[int, float]]) -> dict[int, list[float]]:
    """Return the values of each key."""
    groups: dict[int, list[float]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def rising(
    groups: Mapping[int, Sequence[float]], of: Callable[[Sequence[float]], float] = centre
) -> dict[int, float]:
    """Return by key the centre of each group, pooled with its neighbours where it would be less than one before."""
    pools: list[tuple[float, int, list[int]]] = []
    for key in sorted(groups):
        value, weight, keys = max(0.0, of(groups[key])), len(groups[key]), [key]
        while pools and pools[-1][0] > value:
            before, heavier, earlier = pools.pop()
            value = (before * heavier + value * weight) / (heavier + weight)
            weight, keys = heavier + weight, earlier + keys
        pools.append((value, weight, keys))
    return {key: value for value, _, keys in pools for key in keys}
