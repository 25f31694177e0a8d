"""A Llama-shaped model behind the interface that the sessions of the hf backend work on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import torch

from paceline.backends.graph.bits import BLOCK, require_same_bits
from paceline.backends.graph.cache import CachePool, StaticCache
from paceline.backends.graph.forward import Forward
from paceline.backends.graph.packing import packing_problem
from paceline.backends.graph.products import prepare
from paceline.backends.graph.shape import Shape, read_shape
from paceline.backends.graph.weights import take_weights
from paceline.backends.torch.finite import require_finite
from paceline.backends.torch.host import end_tokens, identity
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

LONGEST: Final = 4096
"""The longest context where nobody says otherwise: what most prompts and answers stay under. A session of an 8B model
with 8 heads of keys and values then takes half a GiB in bfloat16."""

MARGIN: Final = 32
"""Tokens beyond the longest context that a block may reach; more than any policy drafts."""


class GraphEngine:
    """One loaded model, shared by all its sessions and threads; holds no state of a request.

    Args:
        model: A model of transformers, of one of the four families, on its device, in its dtype.
        name: What messages call it; its own `name_or_path` if None.
        max_context: The longest prompt + output; each session takes memory for all of it.
        deterministic: Promise the same bits for every sequence of blocks.
        packed: Pack matrices where it pays.
        consume: Let go of the model's own matrices as they are joined; it cannot be used afterwards.

    Raises:
        BackendError: The model is not one of those, the context is longer than its positions or its window, or the
            promise cannot be kept, or its logits are no numbers.
    """

    backend = "graph"
    switch = None  # models that have one are refused

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        name: str | None = None,
        max_context: int | None = None,
        deterministic: bool = False,
        packed: bool = True,
        consume: bool = False,
    ) -> None:
        self.name = name or getattr(model, "name_or_path", "") or type(model).__name__
        config: Any = model.config
        self.shape = read_shape(config, self.name)
        self.max_context = context_of(self.shape, max_context, self.name)
        self.vocabulary = self.shape.vocabulary
        self.eos = end_tokens(model, config)
        capacity = self.max_context + MARGIN
        self.weights = take_weights(model, self.shape, positions=capacity, name=self.name, consume=consume)
        self.device = self.weights.device
        self.deterministic = deterministic
        self._identity = identity(self.name, model, self.device)
        problem = packing_problem(self.weights) if packed else "packing is switched off"
        if deterministic and problem is not None:
            raise BackendError(
                f"graph: {self.name} cannot be `deterministic`, which needs packed matrices: {problem}. Leave "
                "`deterministic` out"
            )
        self.products = prepare(self.shape, self.weights, packed=problem is None, same_bits=deterministic)
        # The products hold what they need of the layers; those that were packed are let go.
        self.weights = replace(self.weights, layers=())
        self.forward = Forward(
            self.shape, self.weights, self.products, capacity=capacity, by_row=deterministic
        )
        self._pool = CachePool(self.shape, capacity, self.weights.embedding)
        cache = self.new_cache()
        require_finite(self.feed(cache, [0, 0]), self)
        self.free(cache)
        if deterministic:
            require_same_bits(self)

    @property
    def identity(self) -> str:
        """Name, version, number format, kind of device, and how it is computed."""
        return f"{self._identity} graph{' deterministic' if self.deterministic else ''}"

    def new_cache(self) -> StaticCache:
        """Return an empty cache that nobody else has."""
        return self._pool.take()

    def free(self, cache: StaticCache) -> None:
        """Take back a cache for the next session."""
        self._pool.give(cache)

    def clear(self, cache: StaticCache) -> None:
        """Make a cache hold nothing."""
        cache.filled = 0

    def feed(self, cache: StaticCache, tokens: Sequence[int] | torch.Tensor, rows: int = 1) -> torch.Tensor:
        """Append tokens to the cache; return the logits after the last `rows` of them.

        Args:
            cache: Holds the tokens afterwards, or what it held before where this raises.
            tokens: Plain integers, or a device tensor of shape (1, tokens).
            rows: At least 1.

        Returns:
            Logits in the model's own precision, shape (rows, vocabulary).

        Raises:
            BackendError: The cache has no room for them.
        """
        with torch.inference_mode():
            ids = tokens[0] if isinstance(tokens, torch.Tensor) else torch.tensor(tokens, device=self.device)
            cache.require(len(ids), self.name)
            if self.deterministic and len(ids) > BLOCK:
                return self._in_blocks(cache, ids, rows)
            return self.forward(cache, ids, rows)

    def _in_blocks(self, cache: StaticCache, ids: torch.Tensor, rows: int) -> torch.Tensor:
        """Feed in blocks of the lengths that were found to give the same bits."""
        found, begun = [], cache.filled
        try:
            for start in range(0, len(ids), BLOCK):
                block = ids[start : start + BLOCK]
                # Rows of a block that come before those asked for are left out at once.
                wanted = min(len(block), max(0, rows - (len(ids) - start - len(block))))
                logits = self.forward(cache, block, max(1, wanted))
                if wanted:
                    found.append(logits)
        except BaseException:
            cache.filled = begun
            raise
        return torch.cat(found)


def context_of(shape: Shape, wanted: int | None, name: str) -> int:
    """Return the longest context that is run.

    Args:
        shape: Of the model.
        wanted: What was asked for; None is what the model has positions for, at most `LONGEST`.
        name: What messages call the model.

    Raises:
        BackendError: It is longer than the model's positions, or than what its attention sees.
    """
    found = min(shape.positions, LONGEST) if wanted is None else wanted
    if found > shape.positions:
        raise BackendError(
            f"graph: max_context is {found}, but {name} has positions for {shape.positions} tokens; set "
            f"`max_context: {shape.positions}` or less"
        )
    if shape.window is not None and found > shape.window:
        raise BackendError(
            f"graph: {name} sees {shape.window} tokens back, and this backend attends to all of a context of {found}; "
            f"set `max_context: {shape.window}` or less, or use `backend: hf` for longer texts"
        )
    return found
