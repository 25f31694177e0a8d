"""A Llama-shaped model as an engine on the CPU: static caches, and the promise of `deterministic`.

`deterministic` promises the same bits, whatever blocks a text is read in.

Floating-point sums depend on their order, and fast kernels choose it by the shape of their input. Two things keep it:
matrices packed for many rows, whose kernels sum each row alike for any number of rows from two on, and are given four
at least; and one attention call for each token. None of that is documented, so it is tried on the model
itself before it is promised: every block length that will ever run, bit by bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch

from paceline.backends.graph import threads
from paceline.backends.graph.cache import CachePool, StaticCache
from paceline.backends.graph.forward import Forward
from paceline.backends.graph.products import packing_problem, prepare
from paceline.backends.graph.shape import Shape, read_shape
from paceline.backends.graph.weights import take_layers, take_weights
from paceline.backends.torch.host import end_tokens, identity
from paceline.backends.torch.logits import require_finite
from paceline.backends.torch.pages import enlarge_pages
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedModel


LONGEST: Final = 4096
"""The longest context where nobody says otherwise: what most prompts and answers stay under. A session of an 8B model
with 8 heads of keys and values then takes half a GiB in bfloat16."""

MARGIN: Final = 32
"""Tokens beyond the longest context that a block may reach; more than any policy drafts."""


WALK: Final = 4
"""Tokens of the passes that are timed: they cost what one costs, and are what most rounds verify at least."""


class GraphEngine:
    """One loaded model, shared by all its sessions and threads; holds no state of a request.

    Args:
        model: A model of transformers, of one of the four families, on its device, in its dtype.
        name: What messages call it; its own `name_or_path` if None.
        max_context: The longest prompt + output.
        deterministic: Promise the same bits for every sequence of blocks.
        packed: Pack matrices where it pays.
        dtype: The number format of the matrices; the model's own if None. Each matrix is converted as it is packed.
            Beside int8 matrices, all else is float32.
        huge_pages: Ask the system for large pages under the packed matrices.
        choose_threads: Set the number of CPU threads, for the whole process, to that with which passes are fastest.
        consume: Let go of the model's own matrices as they are packed; it cannot be used afterwards.

    Raises:
        BackendError: The model is not one of those, the context is longer than its positions or its window, or the
            promise cannot be kept, or its logits are no numbers.
    """

    backend = "graph"
    switch = None  # models that have one are refused
    unshared = None

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        name: str | None = None,
        max_context: int | None = None,
        deterministic: bool = False,
        packed: bool = True,
        dtype: torch.dtype | None = None,
        huge_pages: bool = True,
        choose_threads: bool = False,
        consume: bool = False,
    ) -> None:
        self.name = name or getattr(model, "name_or_path", "") or type(model).__name__
        config: Any = model.config
        self.shape = read_shape(config, self.name)
        self.max_context = context_of(self.shape, max_context, self.name)
        self.vocabulary = self.shape.vocabulary
        self.eos = end_tokens(model, config)
        capacity = self.max_context + MARGIN
        computed = torch.float32 if dtype == torch.int8 else dtype
        weights = take_weights(model, self.shape, positions=capacity, name=self.name, dtype=computed)
        self.dtype, self.device = dtype or weights.dtype, weights.device
        self.deterministic = deterministic
        self._identity = identity(self.name, model, self.device, self.dtype)
        if self.dtype == torch.int8:
            require_packing(self.name, self.dtype, self.device)
        problem = packing_problem(self.dtype, self.device) if packed else "packing is switched off"
        if deterministic and problem is not None:
            raise BackendError(
                f"graph: {self.name} cannot be `deterministic`, which needs packed matrices: {problem}. Leave "
                "`deterministic` out"
            )
        self.products = prepare(
            self.shape,
            weights,
            take_layers(model, weights.dtype, consume=consume),
            self.dtype,
            packed=problem is None,
            same_bits=deterministic,
        )
        if huge_pages:
            enlarge_pages(self.products.packed())
        self.forward = Forward(
            self.shape,
            weights.embedding,
            weights.rope,
            self.products,
            capacity=capacity,
            by_row=deterministic,
        )
        self._pool = CachePool(self.shape, capacity, weights.rope.cos)
        cache = self.new_cache()
        require_finite(self.feed(cache, [0, 0]), self)
        if choose_threads and self.device.type == "cpu":
            threads.choose_threads(lambda: self._walk(cache), self.name)
        self.free(cache)
        if deterministic:
            require_same_bits(self)

    @property
    def identity(self) -> str:
        """Name, version, number format, kind of device, and how it is computed."""
        return f"{self._identity} graph{' deterministic' if self.deterministic else ''}"

    def _walk(self, cache: StaticCache) -> None:
        """Run a pass of a few tokens."""
        self.clear(cache)
        self.feed(cache, [0] * min(WALK, self.max_context))

    def new_cache(self) -> StaticCache:
        """Return an empty cache that nobody else has."""
        return self._pool.take()

    def cache_of(self, tokens: int) -> StaticCache:
        """Return an empty cache for so many tokens, which is not to be freed."""
        return self._pool.make(tokens + MARGIN)

    def free(self, cache: StaticCache) -> None:
        """Take back a cache for the next session."""
        self._pool.give(cache)

    def go_back(self, cache: StaticCache, length: int) -> bool:
        """Take a cache back to its first `length` tokens, which is always possible."""
        cache.crop(length - cache.filled)
        return True

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
        flat = tokens[0] if isinstance(tokens, torch.Tensor) else tokens
        return self.feed_batch([cache], flat, [len(flat)], [rows])

    def feed_batch(
        self,
        caches: Sequence[StaticCache],
        tokens: Sequence[int] | torch.Tensor,
        counts: Sequence[int],
        rows: Sequence[int],
    ) -> torch.Tensor:
        """Append tokens to several caches in one pass: see `BatchEngine`.

        Raises:
            BackendError: A cache has no room for its own.
        """
        with torch.inference_mode():
            ids = tokens if isinstance(tokens, torch.Tensor) else torch.tensor(tokens, device=self.device)
            for cache, count in zip(caches, counts, strict=True):
                cache.require(count, self.name)
            if self.deterministic and len(ids) > BLOCK:
                return self._in_blocks(caches, ids, counts, rows)
            return self.forward(caches, ids, counts, rows)

    @property
    def nodes(self) -> int:
        """The most nodes of a tree; none where bits are promised, which sums over a branch were never tried for."""
        return 0 if self.deterministic else MARGIN

    def feed_tree(
        self, cache: StaticCache, tokens: Sequence[int], parents: Sequence[int], rows: int = 1
    ) -> torch.Tensor:
        """Append tokens to a cache, which then ends in a tree: see `TreeEngine`.

        Raises:
            BackendError: The cache has no room for them.
        """
        with torch.inference_mode():
            cache.require(len(tokens), self.name)
            ids = torch.tensor(tokens, device=self.device)
            return self.forward([cache], ids, [len(tokens)], [rows], parents)

    def keep_path(self, cache: StaticCache, base: int, path: Sequence[int]) -> None:
        """Move the tokens to keep in place: see `TreeEngine`."""
        with torch.inference_mode():
            cache.keep_path(base, path)

    def _in_blocks(
        self, caches: Sequence[StaticCache], ids: torch.Tensor, counts: Sequence[int], rows: Sequence[int]
    ) -> torch.Tensor:
        """Feed in blocks of the lengths that were found to give the same bits."""
        logits_of_blocks, filled = [], [cache.filled for cache in caches]
        try:
            for parts in blocks_of(counts, rows):
                held = [caches[part.cache] for part in parts]
                block = torch.cat([ids[part.begin : part.begin + part.tokens] for part in parts])
                # Rows of a block that come before those asked for are left out at once.
                least = [max(1, part.rows) for part in parts]
                logits = self.forward(held, block, [part.tokens for part in parts], least)
                logits_of_blocks += [
                    mine for part, mine in zip(parts, torch.split(logits, least), strict=True) if part.rows
                ]
        except BaseException:
            for cache, before in zip(caches, filled, strict=True):
                cache.filled = before
            raise
        return torch.cat(logits_of_blocks)


class Part(NamedTuple):
    """Tokens of one cache within a block.

    Attributes:
        cache: Its number in the pass.
        begin: Number of the first of them in the pass.
        tokens: How many they are.
        rows: How many logits are asked for at their end.
    """

    cache: int
    begin: int
    tokens: int
    rows: int


def blocks_of(counts: Sequence[int], rows: Sequence[int]) -> Iterator[list[Part]]:
    """Yield blocks of at most `BLOCK` tokens that read what each cache is given, in order, no cache twice in one."""
    block: list[Part] = []
    begin = 0
    for cache, (count, last) in enumerate(zip(counts, rows, strict=True)):
        for start in range(0, count, BLOCK):
            part = min(BLOCK, count - start)
            if block and (start or sum(each.tokens for each in block) + part > BLOCK):
                yield block
                block = []
            needed = min(part, max(0, last - (count - start - part)))
            block.append(Part(cache, begin + start, part, needed))
        begin += count
    yield block


def require_packing(name: str, dtype: torch.dtype, device: torch.device) -> None:
    """Refuse int8 where its products are missing or wrong.

    Raises:
        BackendError: They are; says why and what to do.
    """
    problem = packing_problem(dtype, device)
    if problem is not None:
        raise BackendError(
            f"graph: {name} cannot run in {str(dtype).removeprefix('torch.')}: {problem}. Use `dtype: bfloat16`, or "
            "leave `dtype` out"
        )


def context_of(shape: Shape, requested: int | None, name: str) -> int:
    """Return the longest context that is run.

    Args:
        shape: Of the model.
        requested: What was asked for; None is what the model has positions for, at most `LONGEST`.
        name: What messages call the model.

    Raises:
        BackendError: It is longer than the model's positions, or than what its attention sees.
    """
    context = min(shape.positions, LONGEST) if requested is None else requested
    if context > shape.positions:
        raise BackendError(
            f"graph: max_context is {context}, but {name} has positions for {shape.positions} tokens; set "
            f"`max_context: {shape.positions}` or less"
        )
    if shape.window is not None and context > shape.window:
        raise BackendError(
            f"graph: {name} sees {shape.window} tokens back, and this backend attends to a whole context of {context}; "
            f"set `max_context: {shape.window}` or less, or use `backend: hf` for longer texts"
        )
    return context


BLOCK: Final = 16
"""The longest block that runs; longer ones are cut. Twice the usual gamma, and few enough to try them all."""

TRIED: Final = 2 * BLOCK
"""Tokens that each block length is tried on."""


@torch.inference_mode()
def require_same_bits(engine: GraphEngine) -> None:
    """Read a text in blocks of every length up to `BLOCK`, and compare logits and cache with one token at a time.

    Raises:
        BackendError: Some bit differs.
    """
    count = min(TRIED, engine.max_context)
    text = torch.arange(1, count + 1, device=engine.device).mul_(7919).remainder_(engine.vocabulary)
    expected = _read(engine, text, 1)
    for length in range(2, min(BLOCK, count) + 1):
        actual = _read(engine, text, length)
        if not all(torch.equal(left, right) for left, right in zip(expected, actual, strict=True)):
            raise BackendError(
                f"graph: {engine.name} cannot be `deterministic` on this processor with torch {torch.__version__} and "
                f"{torch.get_num_threads()} threads: a block of {length} tokens gives other bits than single tokens. "
                "Leave `deterministic` out, or try `threads: 1`"
            )


def _read(engine: GraphEngine, text: torch.Tensor, length: int) -> list[torch.Tensor]:
    """Return the logits of all tokens, and what the cache holds of each layer."""
    cache = engine.new_cache()
    logits = []
    try:
        for block in torch.split(text, length):
            # The last row alone, as while a prompt is read, and then all of them, as in a verification.
            alone = engine.forward([cache], block, [len(block)], [1])
            cache.crop(-len(block))
            together = engine.forward([cache], block, [len(block)], [len(block)])
            logits.append(together if torch.equal(alone, together[-1:]) else together * torch.nan)
        return [torch.cat(logits), *(layer[:, :, : len(text)].clone() for layer in cache.layers)]
    finally:
        engine.free(cache)
