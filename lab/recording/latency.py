"""The seconds of rounds on one machine: a latency profile, as a cost model and as JSON, and its fit to measured rounds.

Rounds on a machine that does other things as well have a long tail of slow ones, so each time is the mean of the middle
half of its measurements, which shrugs off a quarter of outliers on either side and needs fewer than a median does. But
a text takes its slow rounds as well: verifying, each draft and the loop are then scaled so that they add up to what all
rounds together took. That needs many rounds to be sure of, and there are many for the whole.
Verification never decreases with the length of a block, nor drafting with gamma, nor catching up with the lag: what was
measured otherwise is pooled (isotonic regression by pooling adjacent violators, Ayer et al. 1955).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paceline.lab.recording.timing_sweep import Timing

PRICES = 1 << 17
"""Answers of each kind that are kept at most; with long contexts there are many, and they are cheap to work out."""


@dataclass(frozen=True, slots=True)
class DraftTimes:
    """Seconds of one draft.

    Attributes:
        tokens: By gamma, seconds to draft that many tokens without any lag; between gammas a straight line, beyond
            the last one its last slope. 0 tokens take no time where nothing else is said.
        catch_up: By lag, seconds that catching up adds; likewise, and 0 at lag 0.
        look_s: Seconds that each token takes besides where its signals are looked at. No part of
            `LatencyProfile.draft_s`, since a cost model is not told who looks.
    """

    tokens: Mapping[int, float]
    catch_up: Mapping[int, float]
    look_s: float = 0.0

    def __post_init__(self) -> None:
        _check("tokens", self.tokens, 0)
        _check("catch_up", self.catch_up, 0, needed=False)
        if not self.look_s >= 0.0:
            raise ValueError(f"look_s cannot be below 0, found {self.look_s}")

    def seconds(self, gamma: int, lag: int = 0) -> float:
        """Return the seconds to draft `gamma` tokens after catching up on `lag`, where nobody looks."""
        return _at(self.tokens, gamma, origin=True) + _at(self.catch_up, lag, origin=True)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DraftTimes:
        """Return what `LatencyProfile.to_json` wrote for one draft."""
        return cls(_keyed(values["tokens"]), _keyed(values["catch_up"]), float(values.get("look_s", 0.0)))


@dataclass(frozen=True, slots=True)
class LatencyProfile:
    """Seconds of everything in a round; a cost model (see `Costs`), with the loop's own share besides.

    Attributes:
        verify: By block length, seconds at `context`; between lengths a straight line, beyond the last its last slope.
        context: Tokens of context that `verify` holds for.
        context_s: Seconds that each further token of context adds.
        drafts: By name.
        overhead_s: What a round takes besides drafting and verifying, decisions of the policy not counted.

    Raises:
        ValueError: There is no length, a key or a time is below what is possible, or a longer block takes less time.
    """

    verify: Mapping[int, float]
    context: int
    context_s: float
    drafts: Mapping[str, DraftTimes]
    overhead_s: float
    _draft: dict[tuple[str, int, int], float] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _verify: dict[tuple[int, int], float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check("verify", self.verify, 1)
        lengths = sorted(self.verify)
        for shorter, longer in pairwise(lengths):
            if self.verify[longer] < self.verify[shorter]:
                raise ValueError(f"verify: {longer} tokens cannot take less than {shorter}")
        if not (self.context >= 0 and self.context_s >= 0.0 and self.overhead_s >= 0.0):
            raise ValueError("context, context_s and overhead_s cannot be below 0")

    def draft_s(self, draft: str, gamma: int, lag: int = 0) -> float:
        """Return the seconds to draft `gamma` tokens after catching up on `lag`."""
        price = self._draft.get((draft, gamma, lag))
        if price is None:
            if len(self._draft) >= PRICES:
                self._draft.clear()
            price = self._draft[draft, gamma, lag] = self.drafts[draft].seconds(gamma, lag)
        return price

    def verify_s(self, length: int, context: int) -> float:
        """Return the seconds to verify a block of `length` tokens after `context` tokens."""
        price = self._verify.get((length, context))
        if price is None:
            if len(self._verify) >= PRICES:
                self._verify.clear()
            # A line through contexts far from those measured must not promise time back.
            seconds = _at(self.verify, length) + self.context_s * (context - self.context)
            price = self._verify[length, context] = max(0.0, seconds)
        return price

    def to_json(self) -> dict[str, Any]:
        """Return the profile as JSON-able values."""
        return {
            "verify": _named(self.verify),
            "context": self.context,
            "context_s": self.context_s,
            "drafts": {
                name: {
                    "tokens": _named(times.tokens),
                    "catch_up": _named(times.catch_up),
                    "look_s": times.look_s,
                }
                for name, times in self.drafts.items()
            },
            "overhead_s": self.overhead_s,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LatencyProfile:
        """Return the profile that `to_json` made these values from; unknown keys are ignored.

        Raises:
            KeyError, TypeError, ValueError: The values are not of a profile.
        """
        return cls(
            verify=_keyed(values["verify"]),
            context=int(values["context"]),
            context_s=float(values["context_s"]),
            drafts={name: DraftTimes.from_json(times) for name, times in values["drafts"].items()},
            overhead_s=float(values["overhead_s"]),
        )


def _at(points: Mapping[int, float], x: int, *, origin: bool = False) -> float:
    """Return the line through `points` at `x`, never below 0; with `origin` it begins at 0 unless told otherwise."""
    exact = points.get(x)
    if exact is not None:
        return exact
    known = sorted({0, *points} if origin else points)
    if len(known) == 1:
        return points.get(known[0], 0.0)
    right = min(max(bisect_right(known, x), 1), len(known) - 1)
    left_x, right_x = known[right - 1], known[right]
    left_y, right_y = points.get(left_x, 0.0), points[right_x]
    return max(0.0, left_y + (right_y - left_y) / (right_x - left_x) * (x - left_x))


def _check(name: str, points: Mapping[int, float], least: int, *, needed: bool = True) -> None:
    if needed and not points:
        raise ValueError(f"{name}: at least one time is needed")
    for key, seconds in points.items():
        if key < least or not 0.0 <= seconds < float("inf"):
            raise ValueError(f"{name}: keys are {least} and more, seconds 0 and more, found {key}: {seconds}")


def _keyed(named: Mapping[str, float]) -> dict[int, float]:
    return {int(key): float(seconds) for key, seconds in named.items()}


def _named(keyed: Mapping[int, float]) -> dict[str, float]:
    return {str(key): keyed[key] for key in sorted(keyed)}


NEAR = 4
"""Rounds with no more lag than this tell how long drafting takes, once what the lag adds is known and taken off."""

PAIRS = 500
"""Pairs of rounds that the slope in the context is the median of, for each length of block."""

SLOWEST = 10.0
"""A round counts as at most so many times what was expected: the machine was asleep, or somewhere else."""

APART = 16
"""Tokens of context that such a pair must differ by, or noise is divided by next to nothing."""


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
    levels = _grouped(
        (timing.drafted + 1, timing.verify_s - slope * (timing.context - context)) for timing in timings
    )
    profile = LatencyProfile(
        verify=_rising(levels),
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
    tokens = _rising(_grouped((timing.drafted, timing.draft_s) for timing in unseen if timing.lag == least))
    bare = DraftTimes(tokens, {})
    behind = [timing for timing in unseen if timing.lag > least]
    catch_up = _catch_up(
        [(timing.lag, timing.draft_s - bare.seconds(timing.drafted, timing.lag)) for timing in behind]
    )
    lagging = DraftTimes({1: 0.0}, catch_up)
    near = [timing for timing in unseen if timing.lag <= max(NEAR, least)]
    tokens = _rising(
        _grouped((timing.drafted, timing.draft_s - lagging.seconds(0, timing.lag)) for timing in near)
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
    return _rising({lag: [max(0.0, centre(seconds))] * len(seconds) for lag, seconds in points.items()})


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


def _grouped(pairs: Iterable[tuple[int, float]]) -> dict[int, list[float]]:
    groups: dict[int, list[float]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def _rising(
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
