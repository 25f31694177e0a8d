"""The dynamic program over gamma and draft, backwards from the end of a text.

With V(p, s) the least seconds from start p on, s saying for each draft with a cache up to where it is filled, and the
chances S_j that the first j tokens of a draft are accepted,

    V(n, s) = 0
    V(p, s) = min over drafts d and numbers k of tokens of
              C(p, k) + catch-up(d, p - s_d) + sum_{a < k} (S_a - S_{a+1}) V(p + a + 1, s') + S_k V(p + k + 1, s'')

where s' and s'' are s with the place of d where the round leaves it, which does not depend on where it was. Where
it is known what is accepted, each S is 0 or 1. A stop rule chooses a smaller k, so it can reach nothing else; asking a
draft that did not draft for scores costs time and at best fills its cache, which is an action of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paceline.lab.oracle.board import Board, Lane

    Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Solution:
    """The values of one text.

    Attributes:
        board: What was solved.
        value: (n + 1, places of the first lagging draft, ...). V.
        rested: The same where the drafts that did not draft in the last round may still be asked for scores before
            the next one begins; `value` itself where that never pays.
        used: For each lagging draft, the same after a round that it drafted in: (2, n + 1, places of the others),
            first where its lag is 0, then where it is `short`.
    """

    board: Board
    value: Values
    rested: Values
    used: list[Values]

    @property
    def seconds(self) -> float:
        """The least seconds of the whole text, caches empty."""
        return float(self.value[(0,) * self.value.ndim])


def solve(board: Board) -> Solution:
    """Fill in the values of all states."""
    lagging, sizes, count = board.lagging, board.sizes, board.length
    value = np.zeros((count + 1, *sizes))
    scoring = any(lane.score_s is not None for lane in lagging)
    rested = np.zeros_like(value) if scoring else value
    used = [np.zeros((2, count + 1, *sizes[:axis], *sizes[axis + 1 :])) for axis in range(len(lagging))]
    for start in range(count - 1, -1, -1):
        known: tuple[Any, ...] = tuple(slice(start + lane.short + 2) for lane in lagging)
        best = board.plain[start] + rested[(start + 1, *known)]
        for lane in board.free:
            if lane.most[start] > 0:
                after = rested[(slice(None), *known)]
                best = np.minimum(best, expected(lane, start, after, after, count).min(axis=0))
        for axis, lane in enumerate(lagging):
            if lane.most[start] > 0:
                others: tuple[Any, ...] = (slice(None), *known[:axis], *known[axis + 1 :])
                drafting = expected(lane, start, used[axis][0][others], used[axis][1][others], count)
                cheapest = np.expand_dims(drafting.min(axis=0), axis)
                best = np.minimum(
                    best, cheapest + _along(lane.catch_up_s(start, board.lags(lane, start)), axis, best)
                )
        value[(start, *known)] = best
        if scoring:
            rested[(start, *known)] = _scored(board, start, best)
        for axis, lane in enumerate(lagging):
            others = (*known[:axis], *known[axis + 1 :])
            for turn, place in enumerate((start + lane.short + 1, start + 1)):
                left = np.expand_dims(best.take(place, axis), axis)
                kept = _scored(board, start, left, but=axis) if scoring else left
                used[axis][(turn, start, *others)] = kept.squeeze(axis)
    return Solution(board, value, rested, used)


def expected(lane: Lane, start: int, partly: Values, fully: Values, count: int) -> Values:
    """Return the seconds from `start` on when so many tokens are drafted there, from one to the most there can be.

    Args:
        lane: The draft.
        start: Where the round begins.
        partly: By place, the seconds from there on after a round in which not all was accepted.
        fully: Likewise when all was.
        count: Where the text ends.
    """
    most = int(lane.most[start])
    ends = np.minimum(np.arange(start + 1, start + most + 2), count)
    chances = lane.survive[start, : most + 1]
    shape = (most,) + (1,) * (partly.ndim - 1)
    refused = np.cumsum((chances[:-1] - chances[1:]).reshape(shape) * partly[ends[:-1]], axis=0)
    passed = chances[1:].reshape(shape) * fully[ends[1:]]
    total: Values = lane.seconds[start, 1 : most + 1].reshape(shape) + (refused + passed)
    return total


def _scored(board: Board, start: int, value: Values, *, but: int | None = None) -> Values:
    """Return the values where drafts, all but one of them, may first be asked for scores, which fills their caches."""
    for axis, lane in enumerate(board.lagging):
        if lane.score_s is None or axis == but:
            continue
        filled = np.expand_dims(value.take(start + lane.short + 1, axis), axis)
        catching_up = lane.catch_up_s(start, board.lags(lane, start))
        asking = lane.score_s * lane.factor[start] + _along(catching_up, axis, value)
        value = np.minimum(value, filled + asking)
    return value


def _along(values: Values, axis: int, like: Values) -> Values:
    return values.reshape([-1 if dimension == axis else 1 for dimension in range(like.ndim)])
