"""Clocks, the source of seconds: a wall clock, a cost table, or a recorded run.

The loop reads `now` around each piece of work and reports the work by `spend`. A wall clock moves by itself; the
virtual clocks move only in `spend`, which makes a run's times, and so its plans, exactly repeatable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from paceline.core.errors import TraceError

if TYPE_CHECKING:
    from paceline.core.protocols import Costs, Work
    from paceline.core.records import Round


class DraftWork(NamedTuple):
    """A draft proposed `tokens` tokens after catching up on `lag`."""

    draft: str
    tokens: int
    lag: int

    def price(self, costs: Costs) -> float:
        """Return its seconds under a cost model."""
        return costs.draft_s(self.draft, self.tokens, self.lag)


class VerifyWork(NamedTuple):
    """The target verified a block of `length` = `Round.nodes` + 1 tokens after `context` tokens."""

    length: int
    context: int

    def price(self, costs: Costs) -> float:
        """Return its seconds under a cost model."""
        return costs.verify_s(self.length, self.context)


@dataclass(frozen=True, slots=True)
class ScoreWork:
    """Drafts that did not draft read the tokens delivered, and whatever they lacked, to say what they make of them.

    Attributes:
        drafts: Which ones.
        reads: How many tokens each of them reads; not part of what is recorded.
    """

    drafts: tuple[str, ...]
    reads: Mapping[str, int] = field(default_factory=dict, compare=False)

    def price(self, costs: Costs) -> float:
        """Return its seconds under a cost model."""
        # One forward pass over all of it costs what drafting one token does, and what catching up costs.
        return sum(costs.draft_s(draft, 1, self.reads[draft]) for draft in self.drafts)


class PassWork(NamedTuple):
    """The target verified what was drafted for several requests at once; each of them reports its own part besides.

    Attributes:
        rows: Requests.
        drafted: Draft tokens of all.
        context: Tokens of context of all.
    """

    rows: int
    drafted: int
    context: int

    def price(self, costs: Costs) -> float:
        """Return nothing: a cost model for one request prices the parts."""
        del costs
        return 0.0


class DraftPassWork(NamedTuple):
    """A draft drafted for several of `rows` requests; each of them reports its own part besides.

    Attributes:
        draft: Its name.
        rows: Requests in the round.
        steps: Passes that it shared; 0 where it was asked for one request after the other.
        tokens: Tokens drafted in all.
        lag: Tokens caught up on in all.
    """

    draft: str
    rows: int
    steps: int
    tokens: int
    lag: int

    def price(self, costs: Costs) -> float:
        """Return nothing: a cost model for one request prices the parts."""
        del costs
        return 0.0


class WallClock:
    """Real time, from the highest resolution timer of the machine."""

    def now(self) -> float:
        """Return seconds since some fixed moment."""
        return perf_counter()

    def spend(self, work: Work) -> None:
        """Do nothing: real time has passed already."""


class CostTableClock:
    """Virtual time that moves by what each piece of work costs in a cost model."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self._now = 0.0

    def now(self) -> float:
        """Return the sum of everything spent."""
        return self._now

    def spend(self, work: Work) -> None:
        """Move on by the price of `work`."""
        self._now += work.price(self._costs)


class RecordedClock:
    """Virtual time that repeats the times of recorded rounds, in their order.

    Raises:
        TraceError: From `spend`, when the run does other work than the recorded one did.
    """

    def __init__(self, rounds: Iterable[Round]) -> None:
        self._pieces = self._unroll(rounds)
        self._now = 0.0

    @staticmethod
    def _unroll(rounds: Iterable[Round]) -> Iterator[tuple[Work, float]]:
        for done in rounds:
            if done.plan.gamma:
                yield DraftWork(done.plan.draft or "", done.drafted, done.lag), done.draft_s
            yield VerifyWork(done.nodes + 1, done.context), done.verify_s
            if done.scores:
                yield ScoreWork(tuple(done.scores)), done.score_s

    def now(self) -> float:
        """Return the sum of the recorded seconds spent so far."""
        return self._now

    def spend(self, work: Work) -> None:
        """Move on by what the same work took when it was recorded."""
        recorded, seconds = next(self._pieces, (None, 0.0))
        if recorded != work:
            raise TraceError(f"the run left its recording: recorded {recorded}, now {work}")
        self._now += seconds
