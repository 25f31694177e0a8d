"""A bounded set of the runs of n tokens that a request's prompt and output contain, kept up as the text grows.

Runs are kept as hashes. Two runs with the same hash are taken for one; with 64 bits that hardly happens, and only
costs a draft token.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Ngrams:
    """Knows the runs of one text.

    Args:
        n: Tokens of a run.
        most: Runs that are remembered; the one that was not seen for longest is forgotten first.
    """

    def __init__(self, n: int, most: int) -> None:
        self.n = n
        self._most = most
        self._runs: OrderedDict[int, None] = OrderedDict()
        self._read = 0
        self._end: tuple[int, ...] = ()  # the last n - 1 tokens read, fewer at the start of a text

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, run: tuple[int, ...]) -> bool:
        return hash(run) in self._runs

    def read(self, text: Sequence[int], *, new: bool) -> tuple[int, ...]:
        """Read what was added to the text since the last time, and return its last n - 1 tokens.

        Starts afresh when told that the text is new, or when it does not go on from where the last one was left. Of a
        text longer than what is remembered only the end is read.
        """
        keep = self.n - 1
        if new or tuple(text[self._read - len(self._end) : self._read]) != self._end:
            self._runs.clear()
            self._read = 0
        first = max(self._read - keep, len(text) - self._most - keep, 0)
        tail = tuple(text[first:])
        runs = self._runs
        for at in range(len(tail) - keep):
            run = hash(tail[at : at + self.n])
            runs[run] = None
            runs.move_to_end(run)
        while len(runs) > self._most:
            runs.popitem(last=False)
        self._read = len(text)
        self._end = tail[-keep:]
        return self._end
