"""The optimum of a text and the rounds that reach it, by a dynamic program backwards from the end of the text.

With V(p, s) the least seconds from start p on, s saying for each draft with a cache up to where it is filled, and the
probabilities S_j that the first j tokens of a draft are accepted,

    V(n, s) = 0
    V(p, s) = min over drafts d and numbers k of tokens of
              C(p, k) + catch-up(d, p - s_d) + sum_{a < k} (S_a - S_{a+1}) V(p + a + 1, s') + S_k V(p + k + 1, s'')

where s' and s'' are s with the place of d where the round leaves it, which does not depend on where it was. Where
it is known what is accepted, each S is 0 or 1. A stop rule chooses a smaller k, so it can reach nothing else; asking a
draft that did not draft for scores costs time and at best fills its cache, which is an action of its own.

Where a draft's further choices are known, the trees of a family (`paceline.lab.oracle.trees`) are actions as well: one
of them takes C(p, tree) and leads to p + a + 1, a being what it has accepted there.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from paceline.lab.oracle.table import Foresight, tabulate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from paceline.lab.oracle.table import DPTable, DraftCosts
    from paceline.lab.oracle.trees import TreeCosts
    from paceline.lab.recording.model import Header, Text

    Values = NDArray[np.float64]

CELLS = 1 << 23
"""States of a program at most: 64 MB of them. Exact for one cache to 2890 tokens, for two caches to 200."""


@dataclass(frozen=True, slots=True)
class OracleRound:
    """One round of the oracle.

    Attributes:
        position: Tokens emitted before.
        draft: Which one drafted; "" for a plain round.
        gamma: Tokens drafted.
        accepted, emitted: Of the round.
        seconds: What it took.
        nodes, width: Of a tree, of which `gamma` is the depth; 0 and 1: it drafted a chain.
    """

    position: int
    draft: str
    gamma: int
    accepted: int
    emitted: int
    seconds: float
    nodes: int = 0
    width: int = 1


@dataclass(frozen=True, slots=True)
class Optimum:
    """The least a text can take.

    Attributes:
        text: Its name.
        seconds: The optimum: of this text, or of the mean over all draws where only probabilities are known.
        exact: Whether some sequence of choices reaches it. False where caches were let off catching up because there
            would have been too many states: then no policy can do better, and perhaps none as well.
        choices: What reaches it, round by round, on the tokens that were really accepted.
    """

    text: str
    seconds: float
    exact: bool
    choices: Sequence[OracleRound]


def clairvoyant(text: Text, header: Header, *, cells: int = CELLS) -> Optimum:
    """Return the optimum of somebody who knows every token that would be accepted. No policy can take less."""
    return _optimum(text, header, "clairvoyant", cells)


def expectation(text: Text, header: Header, *, cells: int = CELLS) -> Optimum:
    """Return the optimum of somebody who knows the probability of every token, and not how it will fall.

    It differs from `clairvoyant` only where tokens were drawn. No policy that does not foresee chance takes less on
    average over the draws; on a single draw one may be lucky.
    """
    return _optimum(text, header, "expectation", cells)


def _optimum(text: Text, header: Header, foresight: Foresight, cells: int) -> Optimum:
    solution = solve(tabulate(text, header, foresight=foresight, cells=cells))
    choices = tuple(_walk(solution, text, [draft.name for draft in solution.table.lagging]))
    return Optimum(text.name, solution.seconds, solution.table.exact, choices)


def _walk(solution: Solution, text: Text, caching: Sequence[str]) -> Iterator[OracleRound]:
    """Follow the values from the beginning of the text to its end."""
    table = solution.table
    start, places = 0, (0,) * len(caching)
    while start < table.length:
        draft, drafted, value = _best(solution, start, places)
        trees, shape = _best_tree(solution, start, places, value)
        if trees is not None:
            (depth, nodes, width), accepted = trees.shapes[shape], int(trees.accepted[start, shape])
            end = min(start + accepted + 1, table.length)
            seconds = float(trees.seconds[start, shape])
            yield OracleRound(start, trees.name, depth, accepted, end - start, seconds, nodes, width)
            start = end
            continue
        seconds, accepted = float(table.plain[start]), 0
        if draft is not None:
            accepted = min(drafted, int(text.drafts[draft.name].agreed[start]))
            seconds = float(draft.seconds[start, drafted])
        end = min(start + accepted + 1, table.length)
        name = draft.name if draft is not None else ""
        if draft is not None and name in caching:
            axis = caching.index(name)
            seconds += float(draft.catch_up_s(start, table.lags(draft, start)[places[axis]]))
            left = end + 1 if accepted == drafted else end + draft.short + 1
            places = (*places[:axis], left, *places[axis + 1 :])
        scores_s, places = _ask(solution, end, places, name)
        yield OracleRound(start, name, drafted, accepted, end - start, seconds + scores_s)
        start = end


def _best_tree(
    solution: Solution, start: int, places: tuple[int, ...], best: float
) -> tuple[TreeCosts | None, int]:
    """Return the trees and the number of the one among them that takes less than `best` from one state on, if any."""
    chosen, shape, count = None, 0, solution.table.length
    for trees in solution.table.trees:
        ends = np.minimum(start + 1 + trees.accepted[start], count)
        everywhere: tuple[Any, ...] = (slice(None), *places)
        values = trees.seconds[start] + solution.rested[everywhere][ends]
        if values.min() < best:
            best, chosen, shape = float(values.min()), trees, int(values.argmin())
    return chosen, shape


def _best(solution: Solution, start: int, places: tuple[int, ...]) -> tuple[DraftCosts | None, int, float]:
    """Return what to draft a chain with and how much, in one state, and the seconds from there on."""
    table, count = solution.table, solution.table.length
    best, draft, drafted = float(table.plain[start] + solution.rested[(start + 1, *places)]), None, 0
    for candidate in table.free:
        if candidate.most[start] > 0:
            everywhere: tuple[Any, ...] = (slice(None), *places)
            after = solution.rested[everywhere]
            values = expected(candidate, start, after, after, count)
            if values.min() < best:
                best, draft, drafted = float(values.min()), candidate, int(values.argmin()) + 1
    for axis, candidate in enumerate(table.lagging):
        if candidate.most[start] > 0:
            others: tuple[Any, ...] = (slice(None), *places[:axis], *places[axis + 1 :])
            partly, fully = solution.used[axis][0][others], solution.used[axis][1][others]
            values = expected(candidate, start, partly, fully, count)
            total = float(
                values.min() + candidate.catch_up_s(start, table.lags(candidate, start)[places[axis]])
            )
            if total < best:
                best, draft, drafted = total, candidate, int(values.argmin()) + 1
    return draft, drafted, best


def _ask(
    solution: Solution, end: int, places: tuple[int, ...], drafting: str
) -> tuple[float, tuple[int, ...]]:
    """Return the seconds of scoring before the next round, and the places it leaves the caches at."""
    table = solution.table
    askable: Mapping[int, DraftCosts] = {
        axis: draft
        for axis, draft in enumerate(table.lagging)
        if draft.score_s is not None and draft.name != drafting
    }
    if end == table.length or not askable:
        return 0.0, places
    options = []
    for scoring in product((False, True), repeat=len(askable)):
        seconds, left = 0.0, list(places)
        for (axis, draft), ask in zip(askable.items(), scoring, strict=True):
            if ask and draft.score_s is not None:
                seconds += draft.score_s * float(draft.factor[end])
                seconds += float(draft.catch_up_s(end, table.lags(draft, end)[places[axis]]))
                left[axis] = end + draft.short + 1
        options.append((seconds + float(solution.value[(end, *left)]), seconds, tuple(left)))
    _, seconds, best = min(options)
    return seconds, best


@dataclass(frozen=True, slots=True)
class Solution:
    """The values of one text.

    Attributes:
        table: What was solved.
        value: (n + 1, places of the first lagging draft, ...). V.
        rested: The same where the drafts that did not draft in the last round may still be asked for scores before
            the next one begins; `value` itself where that never pays.
        used: For each lagging draft, the same after a round that it drafted in: (2, n + 1, places of the others),
            first where its lag is 0, then where it is `short`.
    """

    table: DPTable
    value: Values
    rested: Values
    used: list[Values]

    @property
    def seconds(self) -> float:
        """The least seconds of the whole text, caches empty."""
        return float(self.value[(0,) * self.value.ndim])


def solve(table: DPTable) -> Solution:
    """Fill in the values of all states."""
    lagging, sizes, count = table.lagging, table.sizes, table.length
    value = np.zeros((count + 1, *sizes))
    scoring = any(draft.score_s is not None for draft in lagging)
    rested = np.zeros_like(value) if scoring else value
    used = [np.zeros((2, count + 1, *sizes[:axis], *sizes[axis + 1 :])) for axis in range(len(lagging))]
    for start in range(count - 1, -1, -1):
        known: tuple[Any, ...] = tuple(slice(start + draft.short + 2) for draft in lagging)
        best = table.plain[start] + rested[(start + 1, *known)]
        for draft in table.free:
            if draft.most[start] > 0:
                after = rested[(slice(None), *known)]
                best = np.minimum(best, expected(draft, start, after, after, count).min(axis=0))
        for trees in table.trees:
            ends = np.minimum(start + 1 + trees.accepted[start], count)
            shaped = trees.seconds[start].reshape((-1,) + (1,) * len(lagging))
            best = np.minimum(best, (shaped + rested[(slice(None), *known)][ends]).min(axis=0))
        for axis, draft in enumerate(lagging):
            if draft.most[start] > 0:
                others: tuple[Any, ...] = (slice(None), *known[:axis], *known[axis + 1 :])
                drafting = expected(draft, start, used[axis][0][others], used[axis][1][others], count)
                cheapest = np.expand_dims(drafting.min(axis=0), axis)
                best = np.minimum(
                    best, cheapest + _along(draft.catch_up_s(start, table.lags(draft, start)), axis, best)
                )
        value[(start, *known)] = best
        if scoring:
            rested[(start, *known)] = _scored(table, start, best)
        for axis, draft in enumerate(lagging):
            others = (*known[:axis], *known[axis + 1 :])
            for turn, place in enumerate((start + draft.short + 1, start + 1)):
                left = np.expand_dims(best.take(place, axis), axis)
                kept = _scored(table, start, left, but=axis) if scoring else left
                used[axis][(turn, start, *others)] = kept.squeeze(axis)
    return Solution(table, value, rested, used)


def expected(draft: DraftCosts, start: int, partly: Values, fully: Values, count: int) -> Values:
    """Return the seconds from `start` on when so many tokens are drafted there, from one to the most there can be.

    Args:
        draft: The draft.
        start: Where the round begins.
        partly: By place, the seconds from there on after a round in which not all was accepted.
        fully: Likewise when all was.
        count: Where the text ends.
    """
    most = int(draft.most[start])
    ends = np.minimum(np.arange(start + 1, start + most + 2), count)
    probs = draft.survive[start, : most + 1]
    shape = (most,) + (1,) * (partly.ndim - 1)
    refused = np.cumsum((probs[:-1] - probs[1:]).reshape(shape) * partly[ends[:-1]], axis=0)
    passed = probs[1:].reshape(shape) * fully[ends[1:]]
    total: Values = draft.seconds[start, 1 : most + 1].reshape(shape) + (refused + passed)
    return total


def _scored(table: DPTable, start: int, value: Values, *, but: int | None = None) -> Values:
    """Return the values where drafts, all but one of them, may first be asked for scores, which fills their caches."""
    for axis, draft in enumerate(table.lagging):
        if draft.score_s is None or axis == but:
            continue
        filled = np.expand_dims(value.take(start + draft.short + 1, axis), axis)
        catching_up = draft.catch_up_s(start, table.lags(draft, start))
        asking = draft.score_s * draft.factor[start] + _along(catching_up, axis, value)
        value = np.minimum(value, filled + asking)
    return value


def _along(values: Values, axis: int, like: Values) -> Values:
    return values.reshape([-1 if dimension == axis else 1 for dimension in range(like.ndim)])
