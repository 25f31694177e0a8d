"""Static caches: room for a fixed number of tokens, and the pool that hands them from session to session."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

import torch

from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.backends.graph.shape import Shape

KEPT: Final = 16
"""Caches of closed sessions that are kept for the next ones: as many as the rows of a batch, which have one each."""


class StaticCache:
    """Room for a fixed number of tokens, of which the first `filled` are known.

    What lies beyond `filled` is left over from tokens that were taken back, and never read.

    Args:
        shape: Of the model.
        capacity: Tokens.
        like: A tensor of the wanted device and number format.

    Attributes:
        layers: For each layer one tensor of shape (2, kv_heads, capacity, head_dim): keys, then values.
        filled: Tokens that are known.
    """

    __slots__ = ("capacity", "filled", "layers")

    def __init__(self, shape: Shape, capacity: int, like: torch.Tensor) -> None:
        # A tensor of its own for each layer: all layers in one were measured twice as slow on the CPU. Nothing is
        # written here, so that the system gives memory for what is filled alone. Nobody reads more than that.
        size = (2, shape.kv_heads, capacity, shape.head_dim)
        self.layers = tuple(
            torch.empty(size, dtype=like.dtype, device=like.device) for _ in range(shape.layers)
        )
        self.capacity = capacity
        self.filled = 0

    def get_seq_length(self) -> int:
        """Return how many tokens are known."""
        return self.filled

    def crop(self, minus: int) -> None:
        """Forget the last `-minus` tokens; 0 forgets nothing."""
        assert -self.filled <= minus <= 0
        self.filled += minus

    def keep_path(self, base: int, path: Sequence[int]) -> None:
        """Let the tokens after the first `base` be those at the places `path` after them, ascending, and no others."""
        first = next((place for place, moved in enumerate(path) if place != moved), len(path))
        if first < len(path):
            numbers = torch.tensor([base + place for place in path[first:]], device=self.layers[0].device)
            for layer in self.layers:
                layer[:, :, base + first : base + len(path)] = layer.index_select(2, numbers)
        self.filled = base + len(path)

    def require(self, count: int, name: str) -> None:
        """Make sure that `count` more tokens fit.

        Raises:
            BackendError: They do not; nothing was written.
        """
        require_room(name, self.capacity, self.filled, count)


def require_room(name: str, capacity: int, filled: int, count: int) -> None:
    """Refuse `count` more tokens where they do not fit beside those that are filled.

    Raises:
        BackendError: They do not fit; says of which model, by `name`.
    """
    if filled + count > capacity:
        raise BackendError(
            f"graph: the cache of {name} has room for {capacity} tokens; {filled} are there and {count} more do not "
            "fit. Set a larger `max_context`, or end the text earlier"
        )


class CachePool:
    """The caches of a model: taken by sessions, given back when they close."""

    def __init__(self, shape: Shape, capacity: int, like: torch.Tensor) -> None:
        self._shape = shape
        self._capacity = capacity
        self._like = like[:0]
        self._free: list[StaticCache] = []
        self._lock = Lock()

    def take(self) -> StaticCache:
        """Return an empty cache that nobody else has."""
        with self._lock:
            if self._free:
                return self._free.pop()
        return self.make(self._capacity)

    def make(self, capacity: int) -> StaticCache:
        """Return an empty cache of its own size, which the pool knows nothing of."""
        return StaticCache(self._shape, capacity, self._like)

    def give(self, cache: StaticCache) -> None:
        """Take back a cache; whoever had it must not use it again."""
        with self._lock:
            assert all(cache is not other for other in self._free)
            if len(self._free) < KEPT:
                cache.filled = 0
                self._free.append(cache)
