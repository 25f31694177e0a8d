"""Contract of an engine, which computes a model's passes for sessions: feed tokens after a cache, get logits.

The transformers backend fulfils it with that library's own code; a faster one only has to offer the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


@dataclass(frozen=True, slots=True)
class RopeSwitch:
    """Length of a text past which a model turns positions otherwise.

    Attributes:
        kind: The type of its rotary positions.
        length: The longest text that is turned the first way.
        cache: What `generate` does with the cache where a text gets longer than that: it is "kept", or it reads the
            text "anew", as Phi-3 does. None where no text can be followed past it.
    """

    kind: str
    length: int
    cache: str | None


class Cache(Protocol):
    """The keys and values of one request; grows with each forward pass."""

    def get_seq_length(self) -> int:
        """Return how many tokens it holds."""
        ...

    def crop(self, max_length: int, /) -> None:
        """Drop the last `-max_length` tokens; the name and the sign are transformers'. 0 drops none."""
        ...


class Engine(Protocol):
    """A loaded model, shared by all its sessions; holds no state of a request."""

    @property
    def backend(self) -> str:
        """The name of the backend, for messages."""
        ...

    @property
    def name(self) -> str:
        """Name of the model in messages."""
        ...

    @property
    def identity(self) -> str:
        """Name, version, number format and kind of device; see `paceline.core.optional_protocols.Identified`."""
        ...

    @property
    def device(self) -> torch.device:
        """Device where tokens are fed and logits come out."""
        ...

    @property
    def vocabulary(self) -> int:
        """The number of logits, padding included."""
        ...

    @property
    def max_context(self) -> int | None:
        """The longest sequence that can be read, or None when there is no limit."""
        ...

    @property
    def switch(self) -> RopeSwitch | None:
        """Length past which positions are turned otherwise, so that passes must not be cut just anywhere; or None."""
        ...

    @property
    def eos(self) -> frozenset[int]:
        """The tokens that end a text."""
        ...

    def new_cache(self) -> Any:
        """Return an empty cache that nobody else has."""
        ...

    def free(self, cache: Any) -> None:
        """Take back a cache of `new_cache` that is not needed any longer."""
        ...

    def go_back(self, cache: Any, length: int) -> bool:
        """Take a cache back to its first `length` tokens, further than one round; False if it cannot go back so far.

        Nothing is changed then.
        """
        ...

    def clear(self, cache: Any) -> None:
        """Make a cache hold nothing, in place; asked for only past the switch."""
        ...

    def feed(self, cache: Any, tokens: Sequence[int] | torch.Tensor, rows: int = 1) -> torch.Tensor:
        """Append tokens to the cache; return the logits after the last `rows` of them.

        Args:
            cache: Grows by the tokens, or stays as it was where this raises.
            tokens: Plain integers, or a device tensor of shape (1, tokens).
            rows: At least 1.

        Returns:
            Logits in the model's own precision, shape (rows, vocabulary).
        """
        ...


@runtime_checkable
class BatchEngine(Protocol):
    """An engine that reads the tokens of several requests in one pass; others are asked one request at a time."""

    @property
    def device(self) -> torch.device:
        """Device where tokens are fed and logits come out."""
        ...

    @property
    def unshared(self) -> str | None:
        """The reason why this model is asked one request at a time all the same; None where it shares."""
        ...

    def feed_batch(
        self,
        caches: Sequence[Any],
        tokens: Sequence[int] | torch.Tensor,
        counts: Sequence[int],
        rows: Sequence[int],
    ) -> torch.Tensor:
        """Append tokens to several caches; return the logits after the last `rows` of each, cache after cache.

        Args:
            caches: Different ones. Each grows by its tokens, or all stay as they were where this raises.
            tokens: Those of all caches, one after the other: plain integers, or a device tensor of shape (tokens,).
            counts: Tokens of each cache, at least 1.
            rows: For each cache at least 1, and at most its count.

        Returns:
            Logits in the model's own precision, shape (sum of rows, vocabulary).
        """
        ...


@runtime_checkable
class TreeEngine(Protocol):
    """An engine that reads a tree of tokens in one pass; of others, chains alone are read."""

    @property
    def nodes(self) -> int:
        """The most nodes that a cache may hold beside the text; 0 where this model reads chains alone."""
        ...

    def feed_tree(
        self, cache: Any, tokens: Sequence[int], parents: Sequence[int], rows: int = 1
    ) -> torch.Tensor:
        """Append tokens to the cache, which then ends in a tree; return the logits after the last `rows` of them.

        A node sees what stands before the tree, its ancestors and itself. Its position is one after its parent's.

        Args:
            cache: Grows by the tokens, or stays as it was where this raises.
            tokens: The nodes that the cache lacks, or all of them after tokens that lead up to them.
            parents: For each node of the tree, those in the cache included, the number of its parent in the tree, which
                comes before it; -1 is the last token before the tree.
            rows: At least 1.

        Returns:
            Logits in the model's own precision, shape (rows, vocabulary).
        """
        ...

    def keep_path(self, cache: Any, base: int, path: Sequence[int]) -> None:
        """Keep some of the tokens that stand after the first `base` ones, and drop all others after those.

        Args:
            cache: Holds `base` + len(path) tokens afterwards.
            base: Tokens that stay as they are.
            path: Numbers of the tokens to keep among those after them, ascending, which then stand side by side. Each
                is a node that stood one position after the one before it.
        """
        ...


def nodes_of(engine: Engine) -> int:
    """Return the most nodes of a tree that an engine reads beside a text; 0 where it reads chains alone."""
    return engine.nodes if isinstance(engine, TreeEngine) else 0


def unshared(engine: Engine) -> str | None:
    """Say why requests cannot share the passes of an engine; None where they can."""
    return engine.unshared if isinstance(engine, BatchEngine) else "its engine reads one request at a time"
