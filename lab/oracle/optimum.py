"""The optimum of a text, with the choices that reach it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from paceline.lab.oracle.board import Sight, layout
from paceline.lab.oracle.program import Solution, expected, solve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from paceline.lab.oracle.board import Lane
    from paceline.lab.recording.model import Header, Text

CELLS = 1 << 23
"""States of a program at most: 64 MB of them. Exact for one cache to 2890 tokens, for two caches to 200."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One round of the oracle.

    Attributes:
        position: Tokens emitted before.
        draft: Which one drafted; "" for a plain round.
        gamma: Tokens drafted.
        accepted, emitted: Of the round.
        seconds: What it took.
    """

    position: int
    draft: str
    gamma: int
    accepted: int
    emitted: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Optimum:
    """The least a text can take.

    Attributes:
        text: Its name.
        seconds: The optimum: of this text, or of the mean over all draws where only chances are known.
        exact: Whether some sequence of choices reaches it. False where caches were let off catching up because there
            would have been too many states: then no policy can do better, and perhaps none as well.
        choices: What reaches it, round by round, on the tokens that were really accepted.
    """

    text: str
    seconds: float
    exact: bool
    choices: Sequence[Choice]

    @property
    def taken_s(self) -> float:
        """The seconds of the choices; the optimum itself where it was known what is accepted."""
        return sum(choice.seconds for choice in self.choices)


def clairvoyant(text: Text, header: Header, *, cells: int = CELLS) -> Optimum:
    """Return the optimum of somebody who knows every token that would be accepted. No policy can take less."""
    return _optimum(text, header, "clairvoyant", cells)


def expectation(text: Text, header: Header, *, cells: int = CELLS) -> Optimum:
    """Return the optimum of somebody who knows the chance of every token, and not how it will fall.

    It differs from `clairvoyant` only where tokens were drawn. No policy that does not foresee chance takes less on
    average over the draws; on a single draw one may be lucky.
    """
    return _optimum(text, header, "expectation", cells)


def _optimum(text: Text, header: Header, sight: Sight, cells: int) -> Optimum:
    solution = solve(layout(text, header, sight=sight, cells=cells))
    choices = tuple(_walk(solution, text, [lane.name for lane in solution.board.lagging]))
    return Optimum(text.name, solution.seconds, solution.board.exact, choices)


def _walk(solution: Solution, text: Text, caching: Sequence[str]) -> Iterator[Choice]:
    """Follow the values from the beginning of the text to its end."""
    board = solution.board
    start, places = 0, (0,) * len(caching)
    while start < board.length:
        lane, drafted = _best(solution, start, places)
        seconds, accepted = float(board.plain[start]), 0
        if lane is not None:
            accepted = min(drafted, int(text.drafts[lane.name].agreed[start]))
            seconds = float(lane.seconds[start, drafted])
        end = min(start + accepted + 1, board.length)
        name = lane.name if lane is not None else ""
        if lane is not None and name in caching:
            axis = caching.index(name)
            seconds += float(lane.catch_up_s(start, board.lags(lane, start)[places[axis]]))
            left = end + 1 if accepted == drafted else end + lane.short + 1
            places = (*places[:axis], left, *places[axis + 1 :])
        scores_s, places = _ask(solution, end, places, name)
        yield Choice(start, name, drafted, accepted, end - start, seconds + scores_s)
        start = end


def _best(solution: Solution, start: int, places: tuple[int, ...]) -> tuple[Lane | None, int]:
    """Return what to draft with and how much, in one state."""
    board, count = solution.board, solution.board.length
    best, lane, drafted = float(board.plain[start] + solution.rested[(start + 1, *places)]), None, 0
    for candidate in board.free:
        if candidate.most[start] > 0:
            everywhere: tuple[Any, ...] = (slice(None), *places)
            after = solution.rested[everywhere]
            values = expected(candidate, start, after, after, count)
            if values.min() < best:
                best, lane, drafted = float(values.min()), candidate, int(values.argmin()) + 1
    for axis, candidate in enumerate(board.lagging):
        if candidate.most[start] > 0:
            others: tuple[Any, ...] = (slice(None), *places[:axis], *places[axis + 1 :])
            partly, fully = solution.used[axis][0][others], solution.used[axis][1][others]
            values = expected(candidate, start, partly, fully, count)
            total = float(
                values.min() + candidate.catch_up_s(start, board.lags(candidate, start)[places[axis]])
            )
            if total < best:
                best, lane, drafted = total, candidate, int(values.argmin()) + 1
    return lane, drafted


def _ask(
    solution: Solution, end: int, places: tuple[int, ...], drafting: str
) -> tuple[float, tuple[int, ...]]:
    """Return the seconds of scoring before the next round, and the places it leaves the caches at."""
    board = solution.board
    askable: Mapping[int, Lane] = {
        axis: lane
        for axis, lane in enumerate(board.lagging)
        if lane.score_s is not None and lane.name != drafting
    }
    if end == board.length or not askable:
        return 0.0, places
    options = []
    for scoring in product((False, True), repeat=len(askable)):
        seconds, left = 0.0, list(places)
        for (axis, lane), ask in zip(askable.items(), scoring, strict=True):
            if ask and lane.score_s is not None:
                seconds += lane.score_s * float(lane.factor[end])
                seconds += float(lane.catch_up_s(end, board.lags(lane, end)[places[axis]]))
                left[axis] = end + lane.short + 1
        options.append((seconds + float(solution.value[(end, *left)]), seconds, tuple(left)))
    _, seconds, best = min(options)
    return seconds, best
