"""A model ready for programs, shared by all requests, and the shapes that programs are built for."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import torch

from paceline.backends.graph.cache import require_room
from paceline.backends.graph.cuda.forward import BLOCK, BlockCache, Network, forward
from paceline.backends.graph.engine import context_of
from paceline.backends.graph.shape import read_shape
from paceline.backends.graph.weights import Matrix, take_layers, take_weights
from paceline.backends.torch.host import end_tokens, identity
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from paceline.backends.graph.cuda.runner import Runner


TIERS: Final = (0, 1, 2, 3, 4, 6, 8, 12, 16)
"""Gammas that programs are built for: dense where a token more is dear, sparse where few tokens are left to accept."""

SHORTEST: Final = 1024
"""The least positions that programs are built for; below, attention costs nothing beside the weights."""

STEP: Final = 4
"""Each span is this many times the one before: few programs, and attention reads at most four times what it needs."""


def check_tiers(tiers: tuple[int, ...]) -> tuple[int, ...]:
    """Return the tiers.

    Raises:
        BackendError: They do not begin with 0, are not ascending, or are 0 alone.
    """
    if len(tiers) < 2 or tiers[0] != 0 or any(gamma >= larger for gamma, larger in pairwise(tiers)):
        raise BackendError(f"graph: tiers are ascending gammas from 0, such as {TIERS}; found {tiers}")
    return tiers


def next_up(sizes: tuple[int, ...], needed: int) -> int:
    """Return the least of ascending `sizes` that is at least `wanted`; the last one where none is."""
    return next((size for size in sizes if size >= needed), sizes[-1])


def spans(room: int, block: int) -> tuple[int, ...]:
    """Return the spans of a cache of `room` positions: ascending, whole blocks, the last one all of it."""
    growing, size = [], max(SHORTEST, block)
    while size < room:
        growing.append(-(-size // block) * block)
        size *= STEP
    # One that is more than half of all is left out: the programs would be worth less than their memory.
    return (*(span for span in growing if 2 * span <= room), room)


class BlockEngine:
    """One loaded model on one device.

    It also offers what sessions of the hf backend ask of a model, without programs: for a draft whose text is
    re-encoded, and for the perplexity of a prompt.

    Args:
        model: A model of transformers of one of the four families, on its device, in its dtype.
        runner: Of that device. Models that work together share one, so that tokens pass between them on the device.
        name: What messages call it; its own `name_or_path` if None.
        max_context: The longest prompt + output; each session takes memory for all of it.
        consume: Let go of the model's own matrices as they are joined; it cannot be used afterwards.
        tiers: Gammas that programs are built for, ascending from 0.
        block: Tokens in a block of the cache.

    Raises:
        BackendError: The model is not one of those, or the context is longer than its positions or its window.
    """

    backend = "graph"
    switch = None  # models that have one are refused

    def __init__(
        self,
        model: PreTrainedModel,
        runner: Runner,
        *,
        name: str | None = None,
        max_context: int | None = None,
        consume: bool = False,
        tiers: tuple[int, ...] = TIERS,
        block: int = BLOCK,
    ) -> None:
        self.name = name or getattr(model, "name_or_path", "") or type(model).__name__
        config: Any = model.config
        shape = read_shape(config, self.name)
        self.capacity = context_of(shape, max_context, self.name)
        self.tiers = check_tiers(tiers)
        self.block = block
        self.eos = end_tokens(model, config)
        self.runner = runner
        weights = take_weights(model, shape, positions=self.capacity, name=self.name)
        layers = take_layers(model, weights.dtype, consume=consume)
        self.network = Network(
            shape,
            weights,
            tuple(replace(layer, gate_up=(Matrix.side_by_side(*layer.gate_up),)) for layer in layers),
        )
        self.identity = f"{identity(self.name, model, weights.device)} graph programs"

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.network.weights.device

    @property
    def vocabulary(self) -> int:
        """Number of logits, padding included."""
        return self.network.shape.vocabulary

    @property
    def max_context(self) -> int:
        """The longest prompt + output."""
        return self.capacity

    @property
    def largest(self) -> int:
        """The largest gamma."""
        return self.tiers[-1]

    def blocks(self) -> BlockCache:
        """Return a cache without content."""
        return BlockCache(self.network.shape, self.capacity, self.network.weights.embedding, block=self.block)

    def new_cache(self) -> FilledCache:
        """Return a cache that counts its tokens, for sessions of the hf backend."""
        with self.runner.work():
            return FilledCache(self.blocks())

    def free(self, cache: FilledCache) -> None:
        """Do nothing: its memory goes when it does."""

    def go_back(self, cache: FilledCache, length: int) -> bool:
        """Take a cache back to its first `length` tokens, which is always possible."""
        cache.filled = length
        return True

    def clear(self, cache: FilledCache) -> None:
        """Make a cache hold nothing."""
        cache.filled = 0

    def feed(self, cache: FilledCache, tokens: Sequence[int] | torch.Tensor, rows: int = 1) -> torch.Tensor:
        """Append tokens to the cache; return the logits after the last `rows` of them: (rows, vocabulary).

        Raises:
            BackendError: The cache has no room for them.
        """
        count = tokens.shape[1] if isinstance(tokens, torch.Tensor) else len(tokens)
        require_room(self.name, self.capacity, cache.filled, count)
        with self.runner.work():
            hidden = self.pass_through(cache.blocks, tokens, cache.filled)
            cache.filled += count
            return self.network.head(hidden[-rows:])

    def pass_through(
        self, cache: BlockCache, tokens: Sequence[int] | torch.Tensor, start: int
    ) -> torch.Tensor:
        """Put tokens into a cache from position `start` on, without a program; return the hidden states after each."""
        given = tokens if isinstance(tokens, torch.Tensor) else torch.tensor([*tokens], device=self.device)
        ids = given.flatten()
        end = start + len(ids)
        positions = torch.arange(start, end, device=self.device)
        return forward(self.network, cache, ids, positions, next_up(spans(cache.room, self.block), end))


class FilledCache:
    """A cache and how many tokens it holds; going back is one subtraction."""

    def __init__(self, blocks: BlockCache) -> None:
        self.blocks = blocks
        self.filled = 0

    def get_seq_length(self) -> int:
        """Return how many tokens are known."""
        return self.filled

    def crop(self, minus: int) -> None:
        """Forget the last `-minus` tokens; 0 forgets nothing."""
        self.filled += minus
