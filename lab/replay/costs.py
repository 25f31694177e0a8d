"""Costs in a replay: prices of a sheet looked up once, and the live cost model that learns only when it is asked."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from paceline.core.clock import ScoreWork
from paceline.core.costs import LiveCosts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.records import Round
    from paceline.lab.recording.sheet import CostSheet

LATEST = 1 << 19
"""Rounds that wait to be learnt from at most, at 48 bytes each."""

WIDTH = 6

PRICES = 1 << 17
"""Prices kept at most; with long contexts there are many, and they are cheap to look up again."""


class LateCosts(LiveCosts):
    """A live cost model that keeps rounds until it is asked; its answers are those of `LiveCosts`."""

    def __init__(self) -> None:
        super().__init__()
        self._late = array("d")
        self._names: list[str] = []

    def draft_s(self, draft: str, gamma: int, lag: int = 0) -> float:
        """Learn what is left to learn, and answer."""
        if self._late:
            self._catch_up_on_rounds()
        return super().draft_s(draft, gamma, lag)

    def verify_s(self, length: int, context: int) -> float:
        """Learn what is left to learn, and answer."""
        if self._late:
            self._catch_up_on_rounds()
        return super().verify_s(length, context)

    def round_s(self, draft: str, longest: int, context: int) -> tuple[Sequence[float], float]:
        """Learn what is left to learn, and answer."""
        if self._late:
            self._catch_up_on_rounds()
        return super().round_s(draft, longest, context)

    def observe(self, done: Round) -> None:
        """Keep a finished round for later."""
        self.take(done.plan.draft, done.drafted, done.lag, done.context, done.draft_s, done.verify_s)

    def take(
        self, draft: str | None, drafted: int, lag: int, context: int, draft_s: float, verify_s: float
    ) -> None:
        """Keep what the model learns from a finished round."""
        if draft is None:
            number = -1
        elif draft in self._names:
            number = self._names.index(draft)
        else:
            number = len(self._names)
            self._names.append(draft)
        # Whole numbers below 2^53 are exact as doubles.
        self._late.extend((number, drafted, lag, context, draft_s, verify_s))
        if len(self._late) >= WIDTH * LATEST:
            self._catch_up_on_rounds()

    def _catch_up_on_rounds(self) -> None:
        late, self._late = iter(self._late), array("d")
        for number, drafted, lag, context, draft_s, verify_s in zip(*[late] * WIDTH, strict=True):
            draft = self._names[int(number)] if number >= 0 else None
            self._learn(draft, int(drafted), int(lag), int(context), draft_s, verify_s)


class Prices:
    """The seconds of work by a cost sheet, each looked up once."""

    def __init__(self, sheet: CostSheet) -> None:
        self.sheet = sheet
        self.overhead_s = sheet.overhead_s
        self.look_s = {name: times.look_s for name, times in sheet.drafts.items()}
        self._draft: dict[tuple[str, int, int], float] = {}
        self._verify: dict[tuple[int, int], float] = {}

    def draft_s(self, draft: str, drafted: int, lag: int) -> float:
        """Return the seconds in which a draft proposed `drafted` tokens after catching up on `lag`."""
        price = self._draft.get((draft, drafted, lag))
        if price is None:
            if len(self._draft) >= PRICES:
                self._draft.clear()
            price = self._draft[draft, drafted, lag] = self.sheet.draft_s(draft, drafted, lag)
        return price

    def verify_s(self, length: int, context: int) -> float:
        """Return the seconds to verify a block of `length` tokens after `context` tokens."""
        price = self._verify.get((length, context))
        if price is None:
            if len(self._verify) >= PRICES:
                self._verify.clear()
            price = self._verify[length, context] = self.sheet.verify_s(length, context)
        return price

    def score_s(self, reads: Mapping[str, int]) -> float:
        """Return the seconds in which drafts read so many tokens each to score them."""
        return ScoreWork(tuple(reads), reads).price(self.sheet)
