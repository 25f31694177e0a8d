"""One request on one model: a ledger and the cache it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.backends.hf.ledger import Ledger
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from transformers.cache_utils import DynamicCache

    from paceline.backends.hf.engine import Engine

CHUNK = 512
"""Tokens read in one forward pass while catching up; bounds the memory that a long prompt needs."""


class Stream:
    """The state of one request. Both roles work on it: try tokens, then settle what was delivered.

    Args:
        engine: The model.
        prompt: Its tokens.
        cache: One to go on with, which holds the first tokens of the prompt but never all; a new one by default.

    Raises:
        BackendError: The prompt is empty or longer than the model can read.
    """

    def __init__(self, engine: Engine, prompt: Sequence[int], cache: DynamicCache | None = None) -> None:
        if not prompt:
            raise BackendError(
                f"hf: {engine.name} was given an empty prompt; give at least one token, for example the "
                "beginning-of-sequence token"
            )
        self.engine = engine
        self.ledger = Ledger(prompt)
        self._cache: DynamicCache | None = engine.new_cache() if cache is None else cache
        if cache is not None:
            self.ledger.read(cache.get_seq_length())

    @property
    def cache(self) -> DynamicCache:
        """The cache.

        Raises:
            BackendError: The session was closed.
        """
        if self._cache is None:
            raise BackendError(f"hf: this session of {self.engine.name} was closed; open a new one")
        return self._cache

    def catch_up(self, most: int) -> None:
        """Read the context for good, in chunks, until the cache lacks at most `most` >= 1 tokens of it."""
        while (excess := len(self.ledger.tail) - most) > 0:
            self.engine.feed(self.cache, self.ledger.read(min(excess, CHUNK)))
            self.cache.crop(0)  # windowed layers let go of what has left the window

    def attempt(self, guess: Sequence[int] = ()) -> torch.Tensor:
        """Feed the rest of the context and a guess; return the logits that judge the guess and follow it.

        Returns:
            Shape (len(guess) + 1, vocabulary). Row i is about the token after i tokens of the guess.
        """
        self.undo()
        self.catch_up(CHUNK)
        return self.engine.feed(self.cache, self.ledger.attempt(guess), rows=len(guess) + 1)

    def extend(self, token: torch.Tensor) -> torch.Tensor:
        """Feed one more token, shape (1, 1), without reading its value; return the logits after it: (1, vocabulary)."""
        self.ledger.extend()
        return self.engine.feed(self.cache, token)

    def undo(self) -> None:
        """Take back an attempt that was never settled."""
        self.advance(())

    def advance(self, emitted: Sequence[int]) -> None:
        """Take in the tokens a round delivered and forget whatever else was tried."""
        tried = bool(self.ledger.trial)
        drop = self.ledger.settle(emitted)
        if tried:
            self.cache.crop(-drop)

    def close(self) -> None:
        """Free the cache."""
        self._cache = None
