"""State that the sessions of both roles share: buffers, and a tracker of what their cache holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

import torch

from paceline.backends.graph.cuda.buffers import CHUNK, READ, Seat
from paceline.backends.graph.cuda.sampling import shares
from paceline.backends.torch.sequence import UNREAD, Ledger
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.backends.graph.cuda.buffers import Slots
    from paceline.core.sampling import Sampling


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


BLOCKWISE = 4 * READ
"""Longer lags are read in larger pieces, without a program."""


class SeatSession(Generic[Seat]):
    """One request on one model.

    Args:
        slots: Where a seat is taken, and given back when the session closes.
        prompt: At least one token.
        sampling: How tokens are chosen.
    """

    def __init__(self, slots: Slots[Seat], prompt: Sequence[int], sampling: Sampling) -> None:
        self.ledger = PairLedger(prompt)
        self._slots = slots
        slot = slots.take()
        self._slot: Seat | None = slot
        self.name = slot.engine.name
        try:
            with slot.engine.runner.work():
                slot.season(sampling)
        except BaseException:
            self.close()
            raise

    @property
    def slot(self) -> Seat:
        """The seat.

        Raises:
            BackendError: The session was closed.
        """
        if self._slot is None:
            raise BackendError(f"graph: this session of {self.name} was closed; open a new one")
        return self._slot

    def catch_up(self, most: int) -> None:
        """Read context until the cache lacks at most `most` >= 1 tokens of it, in pieces; a trial is undone."""
        self.ledger.settle(())
        while (excess := len(self.ledger.tail) - most) > 0:
            start, size = self.ledger.cached, min(excess, CHUNK if excess > BLOCKWISE else READ)
            self.slot.read(start, self.ledger.tail[:size])
            self.ledger.read(size)

    def attempt(self, guess: Sequence[int] = ()) -> torch.Tensor:
        """Read the rest of the context and a guess without a program; return the logits that judge the guess.

        Returns:
            Shape (len(guess) + 1, vocabulary).
        """
        with self.slot.engine.runner.work():
            self.catch_up(1)
            start = self.ledger.cached
            logits = self.slot.logits(start, [*self.ledger.tail, *guess], len(guess) + 1)
            self.ledger.attempt(guess)
            return logits

    def shares(self, tokens: Sequence[int], width: int) -> list[float]:
        """Return how probable each of `tokens`, which follow the context, is as this model's choice among `width`."""
        with self.slot.engine.runner.work():
            taste = self.slot.taste
            scores = taste.scores(self.attempt(tokens[:-1])[:, :width])
            if taste.kind == "greedy":
                own = scores.argmax(dim=-1).tolist()
                return [float(found == token) for found, token in zip(own, tokens, strict=True)]
            ids = torch.tensor([min(token, width - 1) for token in tokens], device=scores.device)
            found = shares(scores).gather(1, ids[:, None])[:, 0].tolist()
        # What cannot be chosen has no share, and rounding may carry a share past 1.
        return [min(share, 1.0) if token < width else 0.0 for share, token in zip(found, tokens, strict=True)]

    def logits(self) -> torch.Tensor:
        """Return the logits of the next token, shape (vocabulary,); for tests and tools."""
        return self.attempt()[-1]

    def close(self) -> None:
        """Give the seat back."""
        slot, self._slot = self._slot, None
        if slot is not None:
            self._slots.give(slot)
