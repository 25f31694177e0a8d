"""The seconds of rounds on one machine: a latency profile, as a cost model and as JSON."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from paceline.core.price import CATCH_UP

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
class PassTimes:
    """Seconds of passes that several requests share, for one number of them.

    Attributes:
        verify: By draft tokens of all requests, seconds of a verification without what their context adds.
        drafts: By name, seconds of a step of drafting, and of each token in it.
    """

    verify: Mapping[int, float]
    drafts: Mapping[str, tuple[float, float]]

    def __post_init__(self) -> None:
        _check("verify", self.verify, 0)
        if not all(len(times) == 2 and min(times) >= 0.0 for times in self.drafts.values()):
            raise ValueError("drafts: a step and a token take 0 seconds or more")


@dataclass(frozen=True, slots=True)
class LatencyProfile:
    """Seconds of everything in a round; a cost model (see `Costs`), with the loop's own share besides.

    Attributes:
        verify: By block length, seconds at `context`; between lengths a straight line, beyond the last its last slope.
        context: Tokens of context that `verify` holds for.
        context_s: Seconds that each further token of context adds.
        drafts: By name.
        overhead_s: What a round takes besides drafting and verifying, decisions of the policy not counted.
        batches: By requests that share their passes, what those take; none where that was not measured.

    Raises:
        ValueError: There is no length, a key or a time is below what is possible, or a longer block takes less time.
    """

    verify: Mapping[int, float]
    context: int
    context_s: float
    drafts: Mapping[str, DraftTimes]
    overhead_s: float
    batches: Mapping[int, PassTimes] = field(default_factory=dict)
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
        _check("batches", dict.fromkeys(self.batches, 0.0), 2, needed=False)
        if not all(times.drafts.keys() == self.drafts.keys() for times in self.batches.values()):
            raise ValueError("batches: each must tell of every draft, and of no other")

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

    def pass_s(self, rows: int, drafted: int, context: int) -> float:
        """Return the seconds to verify so many draft tokens of `rows` requests at once, with that context in all.

        Between numbers of requests that were measured a straight line; one request alone is the first of them.
        """
        known = {number: _at(times.verify, drafted) for number, times in self.batches.items()}
        alone = _at(self.verify, 1 + drafted) - self.context_s * self.context
        return max(0.0, _at({1: max(0.0, alone), **known}, rows) + self.context_s * context)

    def draft_pass_s(self, draft: str, rows: int, steps: int, tokens: int, lag: int) -> float:
        """Return the seconds to draft for several of `rows` requests: see `DraftPassWork`."""
        known = {number: times.drafts[draft] for number, times in self.batches.items()}
        prices = {1: (self.draft_s(draft, 1), 0.0), **known}
        step_s, token_s = (
            _at({number: each[part] for number, each in prices.items()}, rows) for part in (0, 1)
        )
        return step_s * steps + token_s * (tokens + CATCH_UP * lag)

    def to_json(self) -> dict[str, Any]:
        """Return the profile as JSON-able values."""
        batches = {
            str(rows): {
                "verify": _named(times.verify),
                "drafts": {name: list(each) for name, each in times.drafts.items()},
            }
            for rows, times in sorted(self.batches.items())
        }
        return {
            **({"batches": batches} if batches else {}),
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
            batches={
                int(rows): PassTimes(
                    _keyed(each["verify"]),
                    {name: (float(step), float(token)) for name, (step, token) in each["drafts"].items()},
                )
                for rows, each in values.get("batches", {}).items()
            },
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
