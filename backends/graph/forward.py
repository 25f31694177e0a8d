"""One pass through the model: tokens in, logits out, keys and values into the caches.

Lengths are plain integers here, so nothing is read that is not filled, and no shape is fixed. The tokens of several
caches go through the matrices side by side, as one product; only attention looks at each cache by itself.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

import torch
from torch.nn import functional as F

from paceline.backends.graph.layers import apply_rotary, rms_norm
from paceline.backends.torch.tree_mask import tree_block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.backends.graph.cache import StaticCache
    from paceline.backends.graph.layers import RopeTable
    from paceline.backends.graph.products import LayerProducts, Products
    from paceline.backends.graph.shape import Shape


TABLE: Final = 32
"""Blocks of up to this many tokens take their mask from a table; longer ones, while a prompt is read, make it."""


class Attention:
    """Attention of grouped heads: all query heads of one key head are further rows of the same product.

    Args:
        groups: Query heads for each head of keys and values.
        capacity: The longest context.
        by_row: Attend with one token at a time, which gives the same bits whatever block the token came in.
        like: A tensor of the device and number format.
    """

    def __init__(self, groups: int, capacity: int, *, by_row: bool, like: torch.Tensor) -> None:
        self._groups = groups
        self._by_row = by_row
        # A mask for t tokens after n is columns capacity - n ... capacity + t: zeros, then the triangle of the block.
        self._table = _mask(TABLE, capacity, like).repeat_interleave(groups, dim=0)
        self._capacity = capacity

    def mask(self, tokens: int, filled: int, like: torch.Tensor) -> torch.Tensor | None:
        """Return zeros where a token may look and -inf in its future, for all layers of a pass; None where all may.

        Shape (tokens * groups, filled + tokens).
        """
        if tokens == 1 or self._by_row:
            return None
        if tokens <= TABLE:
            ends = self._capacity
            return self._table[: tokens * self._groups, ends - filled : ends + tokens]
        return self.grouped(_mask(tokens, filled, like))

    def grouped(self, mask: torch.Tensor) -> torch.Tensor:
        """Return a mask of tokens as one of all query heads of a key head, shape (tokens * groups, ...)."""
        return mask.repeat_interleave(self._groups, dim=0)

    def __call__(
        self, queries: torch.Tensor, cached: torch.Tensor, filled: int, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Return what each token takes from itself and from what stands before it.

        Args:
            queries: Shape (tokens, kv_heads * groups, head_dim).
            cached: Keys and values, the tokens' own included, shape (2, kv_heads, some more than needed, head_dim).
            filled: Tokens before the first of them.
            mask: What `mask` made for so many tokens.

        Returns:
            Shape (tokens, kv_heads * groups * head_dim).
        """
        tokens = queries.shape[0]
        if self._by_row:
            # Each row is copied, so that it begins where memory is aligned whatever row of a pass it was.
            rows = (
                self._attend(queries[at : at + 1].clone(), cached[:, :, : filled + at + 1], None)
                for at in range(tokens)
            )
            return torch.cat([*rows])
        return self._attend(queries, cached[:, :, : filled + tokens], mask)

    def _attend(self, queries: torch.Tensor, kv: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        tokens, heads, width = queries.shape
        groups = self._groups
        if tokens == 1:
            q = queries.view(heads // groups, groups, width)
        elif groups == 1:
            q = queries.transpose(0, 1)
        else:
            q = queries.view(tokens, heads // groups, groups, width).transpose(0, 1)
            q = q.reshape(heads // groups, tokens * groups, width)
        out = F.scaled_dot_product_attention(q[None], kv[:1], kv[1:], attn_mask=mask)[0]
        if tokens == 1:
            return out.reshape(1, heads * width)
        if groups == 1:
            return out.transpose(0, 1).reshape(tokens, heads * width)
        return (
            out.view(heads // groups, tokens, groups * width).transpose(0, 1).reshape(tokens, heads * width)
        )


def _mask(tokens: int, filled: int, like: torch.Tensor) -> torch.Tensor:
    """Return zeros where a token may look, -inf in its future, shape (tokens, filled + tokens)."""
    future = torch.full((tokens, filled + tokens), -torch.inf, dtype=like.dtype, device=like.device)
    return future.triu_(filled + 1)


class Forward:
    """The mathematics of a model, over weights that never change; may be used by several threads at once.

    Args:
        shape: Of the model.
        embedding: A row for each token, in any number format.
        rope: The turns of its positions, in the number format to compute in.
        products: Its matrices, ready for use.
        capacity: The longest context.
        by_row: See `Attention`.
    """

    def __init__(
        self,
        shape: Shape,
        embedding: torch.Tensor,
        rope: RopeTable,
        products: Products,
        *,
        capacity: int,
        by_row: bool,
    ) -> None:
        self._shape = shape
        self._embedding = embedding
        self._rope = rope
        self._products = products
        self._attention = Attention(shape.groups, capacity, by_row=by_row, like=rope.cos)
        self._turning = shape.heads + shape.kv_heads
        self._all_heads = shape.heads + 2 * shape.kv_heads

    def __call__(
        self,
        caches: Sequence[StaticCache],
        tokens: torch.Tensor,
        counts: Sequence[int],
        rows: Sequence[int],
        parents: Sequence[int] | None = None,
    ) -> torch.Tensor:
        """Append tokens to caches; return the logits after the last `rows` of each, one cache after the other.

        The caches count the tokens only when all is done: a pass that fails leaves them as they were.

        Args:
            caches: Different ones.
            tokens: Those of all caches, one after the other, shape (sum of counts,).
            counts: Tokens of each cache.
            rows: For each cache at least 1, and at most its count.
            parents: Of the tree that the only cache shall end in, if it shall; see `TreeEngine`.

        Returns:
            Shape (sum of rows, vocabulary).
        """
        products, needed = self._products, sum(rows)
        places: slice | list[int]
        if parents is None:
            places = _places([cache.filled for cache in caches], counts)
            blocks = [
                Block(cache, count, cache.filled, self._attention.mask(count, cache.filled, self._rope.cos))
                for cache, count in zip(caches, counts, strict=True)
            ]
        else:
            filled = caches[0].filled
            places, mask = tree_block(filled, counts[0], parents, self._rope.cos)
            blocks = [Block(caches[0], counts[0], filled, self._attention.grouped(mask), tree=True)]
        cos, sin = self._rope.cos[places], self._rope.sin[places]
        hidden = padded(F.embedding(tokens, self._embedding).to(cos.dtype), products.rows)
        last = len(products.layers) - 1
        for index, layer in enumerate(products.layers):
            queries = self._read(layer, index, hidden, blocks, cos, sin)
            if index == last and needed < len(tokens):
                # Of the last layer, only what comes out is needed from here on.
                kept = _places(_ends(counts, rows), rows)
                queries, hidden = queries[kept], padded(hidden[kept], products.rows)
                blocks = [
                    block.ending(count, self._attention, cos)
                    for block, count in zip(blocks, rows, strict=True)
                ]
            attended = self._attend(index, queries, blocks)
            hidden = layer.out.add(padded(attended, products.rows), hidden)
            hidden = layer.feed_forward(layer.mlp_norm(hidden), hidden)
        logits = products.head(padded(products.norm(hidden[:needed]), products.head.rows))
        for cache, count in zip(caches, counts, strict=True):
            cache.filled += count
        return logits[:needed]

    def _read(
        self,
        layer: LayerProducts,
        index: int,
        hidden: torch.Tensor,
        blocks: Sequence[Block],
        cos: torch.Tensor,
        sin: torch.Tensor,
    ) -> torch.Tensor:
        """Put keys and values of the tokens into the caches; return their queries, (tokens, heads, head_dim)."""
        shape, total = self._shape, len(cos)
        heads = layer.qkv(layer.attention_norm(hidden))[:total].view(total, self._all_heads, shape.head_dim)
        if layer.query_norm is not None and layer.key_norm is not None:
            heads[:, : shape.heads] = rms_norm(heads[:, : shape.heads], layer.query_norm, shape.norm_eps)
            keys = heads[:, shape.heads : self._turning]
            keys.copy_(rms_norm(keys, layer.key_norm, shape.norm_eps))
        apply_rotary(heads[:, : self._turning], cos, sin)
        fresh = heads[:, shape.heads :].view(total, 2, shape.kv_heads, shape.head_dim).permute(1, 2, 0, 3)
        begin = 0
        for cache, count, filled, *_ in blocks:
            cache.layers[index][:, :, filled : filled + count] = fresh[:, :, begin : begin + count]
            begin += count
        return heads[:, : shape.heads]

    def _attend(self, index: int, queries: torch.Tensor, blocks: Sequence[Block]) -> torch.Tensor:
        """Return what the tokens of each block take from its own cache, (tokens, heads * head_dim)."""
        attended, begin = [], 0
        for cache, count, filled, mask, _ in blocks:
            mine = queries[begin : begin + count]
            attended.append(self._attention(mine, cache.layers[index], filled, mask))
            begin += count
        return attended[0] if len(attended) == 1 else torch.cat(attended)


class Block(NamedTuple):
    """Tokens of one cache in a pass.

    Attributes:
        filled: Tokens of the cache before the first of them.
        mask: Of attention; see `Attention.mask`.
        tree: Whether the cache ends in a tree.
    """

    cache: StaticCache
    tokens: int
    filled: int
    mask: torch.Tensor | None
    tree: bool = False

    def ending(self, count: int, attention: Attention, like: torch.Tensor) -> Block:
        """Return the last `count` tokens of it."""
        filled = self.filled + self.tokens - count
        if self.tree:
            assert self.mask is not None
            rows = len(self.mask) // self.tokens * count
            return Block(self.cache, count, filled, self.mask[-rows:], tree=True)
        return Block(self.cache, count, filled, attention.mask(count, filled, like))


def _places(starts: Sequence[int], counts: Sequence[int]) -> slice | list[int]:
    """Return the indices of runs of rows, each from its start; where there is one run, without a copy of the rows."""
    if len(starts) == 1:
        return slice(starts[0], starts[0] + counts[0])
    return [
        place for start, count in zip(starts, counts, strict=True) for place in range(start, start + count)
    ]


def _ends(counts: Sequence[int], rows: Sequence[int]) -> list[int]:
    """Return where the last `rows` of each run of `counts` begin, the runs one after the other."""
    return [end - last for end, last in zip(accumulate(counts), rows, strict=True)]


def padded(rows: torch.Tensor, least: int) -> torch.Tensor:
    """Return the rows, and zeros up to `least` rows."""
    missing = least - len(rows)
    return F.pad(rows, (0, 0, 0, missing)) if missing > 0 else rows
