"""Caches of closed requests, kept for later requests that begin with the same tokens.

What vLLM calls prefix caching and llama.cpp finds in its slots, for one request at a time: a cache has one owner. A
session takes it out and gives it back, so that two requests under way never share one.
"""

from __future__ import annotations

from copy import copy
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from paceline.core.errors import BackendError
from paceline.core.forking import ForkSafeLock
from paceline.core.optional_protocols import SupportsPrefixReuse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


CacheT = TypeVar("CacheT")
ModelT = TypeVar("ModelT")
EngineT = TypeVar("EngineT", bound="CacheEngine")


def agreement(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many tokens two lists begin with alike."""
    pairs = zip(left, right, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


class KeptPrefixes(Generic[CacheT]):
    """Caches with the tokens that each holds, the one that was given longest ago first.

    Args:
        most: Caches that are kept; those given longest ago go first.
        free: Called with each cache that goes.
    """

    def __init__(self, most: int, free: Callable[[CacheT], object]) -> None:
        self._most = most
        self._free = free
        self._kept: list[tuple[tuple[int, ...], CacheT]] = []
        self._lock = ForkSafeLock()

    def __len__(self) -> int:
        return len(self._kept)

    def take(
        self, prompt: Sequence[int], go_back: Callable[[CacheT, int], bool] | None = None
    ) -> tuple[CacheT, int] | None:
        """Return the cache with the longest common prefix, and its length; never the last token of the prompt.

        As long as there is room for another, a cache that would lose more tokens than it saves is left alone: a second
        conversation that begins with the same instructions does not cost the first one its history. Where none fits
        and there is no room, the oldest goes at once, so that a new cache can have its memory.

        Args:
            prompt: What the request is to begin with.
            go_back: Takes a cache back to its first tokens, so many; False, and nothing is changed, if it cannot go
                back. None: the owner does so by counting.
        """
        beginning = prompt[:-1]
        with self._lock:
            full = len(self._kept) >= self._most
            common = [agreement(tokens, beginning) for tokens, _ in self._kept]
            for at in sorted(range(len(common)), key=lambda at: -common[at]):
                tokens, cache = self._kept[at]
                shared = common[at]
                if shared == 0 or (not full and 2 * shared < len(tokens)):
                    continue
                if shared == len(tokens) or go_back is None or go_back(cache, shared):
                    del self._kept[at]
                    return cache, shared
            if full and self._kept:
                self._free(self._kept.pop(0)[1])
        return None

    def drop(self) -> bool:
        """Let go of the cache that was given longest ago; False if none is kept."""
        with self._lock:
            if not self._kept:
                return False
            self._free(self._kept.pop(0)[1])
            return True

    def give(self, cache: CacheT, tokens: Sequence[int]) -> None:
        """Keep a cache that holds these tokens and nothing else; whoever had it must not use it again."""
        with self._lock:
            self._kept.append((tuple(tokens), cache))
            while len(self._kept) > self._most:
                self._free(self._kept.pop(0)[1])


class CacheEngine(Protocol):
    """An engine that makes caches."""

    @property
    def backend(self) -> str:
        """The name of its backend, with which messages begin."""
        ...

    def free(self, cache: Any) -> None:
        """Let go of a cache."""
        ...


class PrefixReuse(Generic[EngineT]):
    """A model whose sessions may keep their caches; see `paceline.core.optional_protocols.SupportsPrefixReuse`.

    Attributes:
        prefixes: What its sessions take and give, or None.
    """

    engine: EngineT
    prefixes: KeptPrefixes[Any] | None = None

    def keep_prefixes(self, count: int) -> Self:
        """Return the same model, whose closed sessions keep at most `count` caches for later requests."""
        if count < 1:
            raise BackendError(f"{self.engine.backend}: caches to keep are at least 1, found {count}")
        keeping = copy(self)
        keeping.prefixes = KeptPrefixes(count, self.free_cache)
        return keeping

    def free_cache(self, cache: Any) -> None:
        """Let go of a cache of a session."""
        self.engine.free(cache)


def keeping(model: ModelT, count: int) -> ModelT:
    """Return a target or draft that keeps so many caches, or as it is where it keeps none."""
    return model.keep_prefixes(count) if count and isinstance(model, SupportsPrefixReuse) else model
