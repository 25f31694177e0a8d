"""State that the sessions of both roles share: buffers, and a tracker of what their cache holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

import torch

from paceline.backends.graph.cuda.buffers import CHUNK, READ, Buffers
from paceline.core.cache_tracker import UNREAD, CacheTracker
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.backends.graph.cuda.buffers import BufferPool
    from paceline.core.prefixes import KeptPrefixes
    from paceline.core.sampling import Sampling


class PairTracker(CacheTracker):
    """A tracker that also remembers the last token that the cache holds for good.

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
        """Note that the first `count` tokens of the tail are in the cache for good."""
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
        """Take in the tokens a round delivered, as the tracker below does."""
        truth = [*self.tail, *emitted]
        drop = super().settle(emitted)
        kept = len(truth) - len(self.tail)
        if kept:
            self.before = truth[kept - 1]
        return drop


BLOCKWISE = 4 * READ
"""Longer lags are read in larger pieces, without a program."""


class GraphSession(Generic[Buffers]):
    """One request on one model.

    Args:
        pool: Where buffers are taken, and given back when the session closes.
        prompt: At least one token.
        sampling: How tokens are chosen.
        prefixes: Buffers of earlier requests, to go on with one of them and to leave this one's there.
    """

    def __init__(
        self,
        pool: BufferPool[Buffers],
        prompt: Sequence[int],
        sampling: Sampling,
        prefixes: KeptPrefixes[Buffers] | None = None,
    ) -> None:
        self.tracker = PairTracker(prompt)
        self._pool = pool
        self._prefixes = prefixes
        self._text = None if prefixes is None else list(prompt)
        taken = None if prefixes is None else prefixes.take(prompt)
        buffers, self.cached_tokens = (pool.take(), 0) if taken is None else taken
        self.tracker.read(self.cached_tokens)
        self._buffers: Buffers | None = buffers
        self.name = buffers.engine.name
        try:
            with buffers.engine.runner.work():
                buffers.set_sampling(sampling)
        except BaseException:
            self.close()
            raise

    @property
    def buffers(self) -> Buffers:
        """The buffers.

        Raises:
            BackendError: The session was closed.
        """
        if self._buffers is None:
            raise BackendError(f"graph: this session of {self.name} was closed; open a new one")
        return self._buffers

    def catch_up(self, most: int) -> None:
        """Read context until the cache lacks at most `most` >= 1 tokens of it, in pieces; a trial is undone."""
        self.tracker.settle(())
        while (excess := len(self.tracker.tail) - most) > 0:
            start, size = self.tracker.cached, min(excess, CHUNK if excess > BLOCKWISE else READ)
            self.buffers.read(start, self.tracker.tail[:size])
            self.tracker.read(size)

    def attempt(self, guess: Sequence[int] = ()) -> torch.Tensor:
        """Read the rest of the context and a guess without a program; return the logits that judge the guess.

        Returns:
            Shape (len(guess) + 1, vocabulary).
        """
        with self.buffers.engine.runner.work():
            self.catch_up(1)
            start = self.tracker.cached
            logits = self.buffers.logits(start, [*self.tracker.tail, *guess], len(guess) + 1)
            self.tracker.attempt(guess)
            return logits

    def token_probs(self, tokens: Sequence[int], width: int) -> list[float]:
        """Return how probable each of `tokens`, which follow the context, is as this model's choice among `width`."""
        with self.buffers.engine.runner.work():
            params = self.buffers.params
            scores = params.scores(self.attempt(tokens[:-1])[:, :width])
            if params.kind == "greedy":
                choices = scores.argmax(dim=-1).tolist()
                return [float(choice == token) for choice, token in zip(choices, tokens, strict=True)]
            ids = torch.tensor([min(token, width - 1) for token in tokens], device=scores.device)
            probs = torch.softmax(scores, dim=-1).gather(1, ids[:, None])[:, 0].tolist()
        # What cannot be chosen has no share, and rounding may carry a share past 1.
        return [min(prob, 1.0) if token < width else 0.0 for prob, token in zip(probs, tokens, strict=True)]

    def logits(self) -> torch.Tensor:
        """Return the logits of the next token, shape (vocabulary,); for tests and tools."""
        return self.attempt()[-1]

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        self.tracker.settle(tokens)
        if self._text is not None:
            self._text.extend(tokens)

    def close(self) -> None:
        """Give the buffers back, or leave them with the tokens that they hold to a later request."""
        buffers, self._buffers = self._buffers, None
        if buffers is None:
            return
        prefixes, text = self._prefixes, self._text
        self.tracker.settle(())
        # After an interrupt, count and text may not be in step.
        if prefixes is None or text is None or len(text) != self.tracker.context or not self.tracker.cached:
            self._pool.give(buffers)
        else:
            prefixes.give(buffers, text[: self.tracker.cached])
