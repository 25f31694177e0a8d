"""State of one request on one model: its tokens, its cache, and the passes that both go through.

Which tokens are in the cache is counted by a `CacheTracker`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from paceline.backends.torch.engine import nodes_of
from paceline.backends.torch.passes import Pass, run
from paceline.core.cache_tracker import CacheTracker
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from paceline.backends.torch.engine import Cache, Engine, TreeEngine
    from paceline.backends.torch.passes import Steps
    from paceline.core.prefixes import KeptPrefixes

CHUNK = 512
"""Tokens read in one forward pass while catching up; bounds the memory that a long prompt needs."""


class SequenceState:
    """The state of one request. Both roles work on it: try tokens, then settle what was delivered.

    The tracker is told of tokens once they are in the cache, so that a pass that fails changes nothing. Where it has
    changed the cache all the same, the sequence is closed.

    Args:
        engine: The model.
        prompt: Its tokens.
        cache: One to go on with, which holds the first tokens of the prompt but never all; a new one by default.
        prefixes: Caches of earlier requests, to go on with one of them and to leave this one's there.

    Raises:
        BackendError: The prompt is empty or longer than the model can read.
    """

    def __init__(
        self,
        engine: Engine,
        prompt: Sequence[int],
        cache: Cache | None = None,
        *,
        prefixes: KeptPrefixes[Any] | None = None,
    ) -> None:
        if not prompt:
            raise BackendError(
                f"{engine.backend}: {engine.name} was given an empty prompt; give at least one token, for example the "
                "beginning-of-sequence token"
            )
        self.engine = engine
        self.vocabulary = engine.vocabulary
        self.tracker = CacheTracker(prompt)
        self._switch = engine.switch
        self._prefixes = prefixes
        self._anew = self._switch is not None and self._switch.cache == "anew"
        self._text = list(prompt) if self._anew or prefixes is not None else None
        self._lent = cache is not None
        self.cached_tokens = 0
        if cache is None and prefixes is not None and not self._switched:
            cache, self.cached_tokens = prefixes.take(prompt, engine.go_back) or (None, 0)
        self._cache: Cache | None = engine.new_cache() if cache is None else cache
        if cache is not None:
            self.tracker.read(cache.get_seq_length())

    @property
    def cache(self) -> Cache:
        """The cache.

        Raises:
            BackendError: The session was closed.
        """
        if self._cache is None:
            engine = self.engine
            raise BackendError(f"{engine.backend}: this session of {engine.name} was closed; open a new one")
        return self._cache

    @property
    def room(self) -> int | None:
        """The most tokens of a guess in one pass: up to where the model turns positions otherwise. None: any."""
        if self._switch is None or self.tracker.context > self._switch.length:
            return None
        return self._switch.length - self.tracker.context

    def catch_up(self, most: int) -> None:
        """Read the context for good, in chunks, until the cache lacks at most `most` >= 1 tokens of it.

        Past the switch of a model, what comes before it is read in one pass with what comes after; where that leaves
        too little, it is left to the next attempt.
        """
        while (excess := len(self.tracker.tail) - most) > 0:
            count = min(excess, CHUNK)
            if self._crosses():
                assert self._switch is not None
                if self.tracker.context - most <= self._switch.length:
                    return
                self._begin_anew()
                count = len(self.tracker.tail) - most
            self.feed(self.tracker.tail[:count], 1)
            self.tracker.read(count)
            self._change(lambda cache: cache.crop(0))  # windowed layers let go of what has left the window

    def attempt(self, guess: Sequence[int] = ()) -> torch.Tensor:
        """Feed the rest of the context and a guess; return the logits that judge the guess and follow it.

        Returns:
            Shape (len(guess) + 1, vocabulary). Row i is about the token after i tokens of the guess.
        """
        return run(self.attempting(guess))

    def attempting(self, guess: Sequence[int] = ()) -> Steps[torch.Tensor]:
        """Do as `attempt`, for whoever runs the passes."""
        self.undo()
        self.catch_up(CHUNK)
        self._begin_anew()
        logits: torch.Tensor = yield Pass(self, [*self.tracker.tail, *guess], len(guess) + 1)
        self.tracker.attempt(guess)
        return logits

    def attempt_tree(self, guess: Sequence[int], parents: Sequence[int]) -> torch.Tensor:
        """Feed the rest of the context and a tree, whose parents are numbered as the tracker has them.

        Returns:
            Shape (len(guess) + 1, vocabulary): about what follows the context, and what follows each node.

        Raises:
            BackendError: The model reads chains alone.
        """
        engine = self.engine
        if not nodes_of(engine):
            raise BackendError(
                f"{engine.backend}: {engine.name} reads no trees; plan chains, as `capabilities.nodes` says"
            )
        self.undo()
        self.catch_up(CHUNK)
        logits = self._feed_tree([*self.tracker.tail, *guess], parents, len(guess) + 1)
        self.tracker.attempt(guess, parents)
        return logits

    def grow(self, nodes: Sequence[int], parents: Sequence[int]) -> torch.Tensor:
        """Feed further nodes of a tree after an attempt; return the logits after each: (len(nodes), vocabulary)."""
        logits = self._feed_tree(nodes, [*(self.tracker.parents or ()), *parents], len(nodes))
        self.tracker.grow(nodes, parents)
        return logits

    def extend(self, token: torch.Tensor) -> torch.Tensor:
        """Feed one more token, shape (1, 1), without reading its value; return the logits after it: (1, vocabulary)."""
        return run(self.extending(token))

    def extending(self, token: torch.Tensor) -> Steps[torch.Tensor]:
        """Do as `extend`, for whoever runs the passes."""
        logits: torch.Tensor = yield Pass(self, token, 1)
        self.tracker.extend()
        return logits

    def undo(self) -> None:
        """Take back an attempt that was never settled."""
        self.advance(())

    def advance(self, emitted: Sequence[int]) -> None:
        """Take in the tokens a round delivered and forget whatever else was tried."""
        tracker = self.tracker
        tried, held = bool(tracker.trial), tracker.cached
        path = None if tracker.parents is None else tracker.path(emitted)
        drop = tracker.settle(emitted)
        if self._text is not None:
            self._text.extend(emitted)
        if path is not None:
            self._change(lambda cache: self._trees.keep_path(cache, held, path))
        elif tried:
            self._change(lambda cache: cache.crop(-drop))

    def close(self) -> None:
        """Give the cache back, or leave it with the tokens that it holds to a later request."""
        cache, self._cache = self._cache, None
        if cache is None or self._lent:
            return
        prefixes, text, held = self._prefixes, self._text, self.tracker.filled
        drop = self.tracker.settle(())
        # After an interrupt, cache, count and text may not be in step.
        in_step = text is not None and len(text) == self.tracker.context and cache.get_seq_length() == held
        if prefixes is None or text is None or not in_step or self._switched or not self.tracker.cached:
            self.engine.free(cache)
            return
        if drop:
            cache.crop(-drop)
        prefixes.give(cache, text[: self.tracker.cached])

    @property
    def _switched(self) -> bool:
        """True past the switch, where what a cache holds depends on the way in which it was read."""
        return self._switch is not None and self.tracker.context > self._switch.length

    def _change(self, step: Callable[[Cache], object]) -> None:
        """Drop tokens from the end of the cache; cut short by an interrupt, that leaves nothing to build on."""
        cache, self._cache = self.cache, None
        step(cache)
        self._cache = cache

    def _crosses(self) -> bool:
        """Tell whether the next pass reaches past the switch, and begins before it."""
        tracker, switch = self.tracker, self._switch
        return switch is not None and tracker.cached <= switch.length < tracker.context

    def _begin_anew(self) -> None:
        """Forget what was read before the switch, if the model does so and the next pass reaches past it."""
        if self._anew and self._text is not None and self.tracker.cached and self._crosses():
            self.engine.clear(self.cache)
            self.tracker.forget(self._text)

    def feed(self, tokens: Sequence[int] | torch.Tensor, rows: int) -> torch.Tensor:
        """Append tokens to the cache; return the logits after the last `rows` of them. The tracker is not told."""
        try:
            return self.engine.feed(self.cache, tokens, rows)
        except BaseException:
            self.close_if_damaged()
            raise

    def _feed_tree(self, tokens: Sequence[int], parents: Sequence[int], rows: int) -> torch.Tensor:
        """Append tokens that end in a tree to the cache, as `feed` does."""
        try:
            return self._trees.feed_tree(self.cache, tokens, parents, rows)
        except BaseException:
            self.close_if_damaged()
            raise

    @property
    def _trees(self) -> TreeEngine:
        """The engine, which has said that it reads trees."""
        return cast("TreeEngine", self.engine)

    def close_if_damaged(self) -> None:
        """Let go of a cache some layers of which hold the tokens of a pass that failed: nothing can be built on it."""
        if self._cache is not None and self._cache.get_seq_length() != self.tracker.filled:
            self._cache = None


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

    def logits(self) -> torch.Tensor:
        """Return the logits of the next token, shape (vocabulary,); for tests and tools."""
        return self.sequence.attempt()[-1]

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        self.sequence.advance(tokens)

    def close(self) -> None:
        """Free what this request held."""
        self.sequence.close()
