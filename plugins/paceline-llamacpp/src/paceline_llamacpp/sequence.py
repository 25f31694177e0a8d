"""State of one request on one model: its tokens, its sequence, and the passes that both go through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline import BackendError, CacheTracker
from paceline_llamacpp.engine import CHUNK
from paceline_llamacpp.library import BACKEND

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from paceline import KeptPrefixes
    from paceline_llamacpp.engine import Engine


FILLING = 0
"""A token that fills up a block; nothing that is read depends on it."""


class SequenceState:
    """The state of one request. Both roles work on it: try tokens, then settle what was delivered.

    The tracker is told of tokens once they are in the cache, so that a pass that fails changes nothing. Where it has
    changed the cache all the same, the sequence is closed.

    Args:
        engine: The model.
        prompt: Its tokens.
        prefixes: Sequences of earlier requests, to go on with one of them and to leave this one there.

    Raises:
        BackendError: The prompt is empty or too long, holds what is no token, or all sequences are in use.
    """

    def __init__(
        self, engine: Engine, prompt: Sequence[int], prefixes: KeptPrefixes[int] | None = None
    ) -> None:
        if not prompt:
            raise BackendError(
                f"{BACKEND}: {engine.name} was given an empty prompt; give at least one token, for example the "
                "beginning-of-sequence token"
            )
        self.engine = engine
        self.tracker = CacheTracker(prompt)
        self._prefixes = prefixes
        self._text = list(prompt) if prefixes is not None else None
        kept = prefixes.take(prompt, engine.go_back) if prefixes is not None else None
        self._sequence: int | None
        self._sequence, self.cached_tokens = (engine.take(prefixes), 0) if kept is None else kept
        self.tracker.read(self.cached_tokens)

    def catch_up(self, most: int) -> None:
        """Read the context for good, in chunks, until the cache lacks at most `most` >= 1 tokens of it."""
        while (excess := len(self.tracker.tail) - most) > 0:
            count = min(excess, CHUNK)
            self._feed(self.tracker.tail[:count], 1)
            self.tracker.read(count)

    def attempt(self, guess: Sequence[int] = ()) -> NDArray[np.float32]:
        """Feed the rest of the context and a guess; return the logits that judge the guess and follow it.

        Returns:
            Shape (len(guess) + 1, vocabulary). Row i is about the token after i tokens of the guess. The next pass of
            any sequence overwrites it.
        """
        self.undo()
        self.catch_up(self.engine.longest - len(guess))
        return self._try([*self.tracker.tail, *guess], len(guess) + 1, lambda: self.tracker.attempt(guess))

    def extend(self, token: int) -> NDArray[np.float32]:
        """Feed one more token; return the logits after it: (1, vocabulary)."""
        return self._try([token], 1, self.tracker.extend)

    def undo(self) -> None:
        """Take back an attempt that was never settled."""
        self.advance(())

    def advance(self, emitted: Sequence[int]) -> None:
        """Take in the tokens a round delivered and forget whatever else was tried."""
        drop = self.tracker.settle(emitted)
        if self._text is not None:
            self._text.extend(emitted)
        if drop:
            self.engine.crop(self._open(), self.tracker.cached)

    def close(self) -> None:
        """Give the sequence back, or leave it with the tokens that it holds to a later request."""
        sequence, self._sequence = self._sequence, None
        if sequence is None:
            return
        tracker, prefixes, text = self.tracker, self._prefixes, self._text
        # After an interrupt, cache, count and text may not be in step.
        in_step = text is not None and len(text) == tracker.context
        in_step = in_step and self.engine.length(sequence) == tracker.filled
        tracker.settle(())
        keeps = in_step and tracker.cached > 0 and self.engine.go_back(sequence, tracker.cached)
        if prefixes is not None and text is not None and keeps:
            prefixes.give(sequence, text[: tracker.cached])
        else:
            self.engine.free(sequence)

    def _try(self, tokens: Sequence[int], rows: int, note: Callable[[], None]) -> NDArray[np.float32]:
        """Feed tokens on trial, in a block of a multiple of the engine's; what fills it up is forgotten at once."""
        filling = -len(tokens) % self.engine.options.block_multiple
        logits = self._feed([*tokens, *[FILLING] * filling], rows + filling)[:rows]
        note()
        if filling:
            self.engine.crop(self._open(), self.tracker.filled)
        return logits

    def _open(self) -> int:
        if self._sequence is None:
            raise BackendError(f"{BACKEND}: this session of {self.engine.name} was closed; open a new one")
        return self._sequence

    def _feed(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        sequence = self._open()
        try:
            return self.engine.feed(sequence, self.tracker.filled, tokens, rows)
        except BaseException:
            if self.engine.length(sequence) != self.tracker.filled:
                self._sequence = None  # some of the tokens are in the cache: nothing can be built on that
                self.engine.free(sequence)
            raise


class ModelSession:
    """A model at work on one request, in either role.

    Args:
        sequence: Its state.
    """

    def __init__(self, sequence: SequenceState) -> None:
        self.sequence = sequence

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt that stood in the cache of an earlier request."""
        return self.sequence.cached_tokens

    def logits(self) -> NDArray[np.float32]:
        """Return a copy of the logits of the next token, shape (vocabulary,); for tests and tools."""
        logits: NDArray[np.float32] = self.sequence.attempt()[-1].copy()
        return logits

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        self.sequence.advance(tokens)

    def close(self) -> None:
        """Free what this request held."""
        self.sequence.close()
