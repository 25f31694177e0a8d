"""Static gammas on a text: what each takes, token by token, and which is best for some texts or parts of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from paceline.lab.oracle.board import layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from paceline.lab.oracle.board import Board, Lane
    from paceline.lab.recording.model import Header, Text


@dataclass(frozen=True, slots=True, order=True)
class Static:
    """The same draft and gamma in every round.

    Attributes:
        draft: "" for plain decoding.
        gamma: 0 for plain decoding.
    """

    draft: str = ""
    gamma: int = 0

    def __str__(self) -> str:
        """Its name in tables."""
        return f"{self.draft} {self.gamma}" if self.gamma else "plain"


PLAIN = Static()


def statics(text: Text, header: Header) -> dict[Static, NDArray[np.float64]]:
    """Return the seconds that each token takes under every static choice, plain decoding first.

    A round's seconds are shared out evenly among the tokens it emits, so that any stretch of the text has a price.
    """
    board = layout(text, header, sight="clairvoyant", cells=0)
    totals = {PLAIN: board.plain.copy()}
    lanes = {lane.name: lane for lane in (*board.lagging, *board.free)}
    for name, info in header.drafts.items():
        agreed = text.drafts[name].agreed.tolist()
        for gamma in range(1, header.longest + 1):
            totals[Static(name, gamma)] = _run(board, lanes[name], text, agreed, gamma, caches=info.caches)
    return totals


def _run(
    board: Board, lane: Lane, text: Text, agreed: list[int], gamma: int, *, caches: bool
) -> NDArray[np.float64]:
    seconds = np.empty(board.length)
    start, lag = 0, text.prompt_tokens - 1
    while start < board.length:
        drafted = min(gamma, int(lane.most[start]))
        accepted = min(drafted, agreed[start])
        end = min(start + accepted + 1, board.length)
        taken = float(board.plain[start])
        if min(gamma, text.max_new_tokens - start - 1) > 0:  # asked, though it may have nothing to propose
            taken = float(lane.seconds[start, drafted]) + (
                float(lane.catch_up_s(start, lag)) if caches else 0.0
            )
        seconds[start:end] = taken / (end - start)
        lag = (lane.short if accepted == drafted else 0) if drafted else lag + end - start
        start = end
    return seconds


def best(totals: Iterable[Mapping[Static, float]]) -> Static:
    """Return the static choice with the least seconds over some texts; of equals, the one with the least gamma."""
    sums: dict[Static, float] = {}
    for text_totals in totals:
        for static, seconds in text_totals.items():
            sums[static] = sums.get(static, 0.0) + seconds
    return min(sums, key=lambda static: (sums[static], static.gamma, static.draft))


def segmented_s(seconds: Mapping[Static, NDArray[np.float64]], window: int) -> float:
    """Return the seconds of a text if each `window` tokens of it took what its own best static choice takes there."""
    each = np.array(list(seconds.values()))
    edges = np.arange(0, each.shape[1], window)
    return float(np.add.reduceat(each, edges, axis=1).min(axis=0).sum())
