"""The bookkeeping of a session whose programs read the last two tokens of the context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.backends.torch.ledger import UNREAD, Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence


class PairLedger(Ledger):
    """A ledger that also remembers the last token that the cache holds for good.

    Attributes:
        before: That token; the first of the prompt while the cache is empty.
    """

    __slots__ = ("before",)

    def __init__(self, prompt: Sequence[int]) -> None:
        super().__init__(prompt)
        self.before = self.tail[0]

    @property
    def pair(self) -> tuple[int, int]:
        """The last two tokens of the context, of which the cache lacks one or both; one token twice if there is one."""
        first = self.before if len(self.tail) == 1 else self.tail[-2]
        return first, self.tail[-1]

    def read(self, count: int) -> None:
        """Be told that the first `count` tokens of the tail are in the cache for good."""
        if count:
            self.before = self.tail[count - 1]
        super().read(count)

    def run_ahead(self, count: int) -> None:
        """Put the last token of the context on trial, and `count` more whose values are not known yet."""
        self.attempt()
        self.trial += [UNREAD] * count

    def learn(self, tokens: Sequence[int]) -> None:
        """Fill in the values of the first tokens on trial after the context's own, as many as there are."""
        count = min(len(tokens), len(self.trial) - 1)
        self.trial[1 : 1 + count] = tokens[:count]

    def settle(self, emitted: Sequence[int]) -> int:
        """Take in the tokens a round delivered, as the ledger below does."""
        truth = [*self.tail, *emitted]
        drop = super().settle(emitted)
        kept = len(truth) - len(self.tail)
        if kept:
            self.before = truth[kept - 1]
        return drop
