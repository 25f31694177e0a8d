"""Attention of a few tokens over a span of blocks, every shape fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from paceline.backends.graph.cuda.cache import BlockCache
    from paceline.backends.graph.shape import Shape


def mask(cache: BlockCache, shape: Shape, positions: torch.Tensor, span: int) -> torch.Tensor:
    """Return 0 where a token may look and -inf where it may not; made once a pass, for all layers.

    Args:
        cache: Tells dtype and blocks.
        shape: Of the model.
        positions: Of the tokens, shape (tokens,).
        span: Positions to look at, a whole number of blocks; at least the last of `positions` plus 1.

    Returns:
        Shape (blocks * kv_heads, tokens * groups, block).
    """
    places = torch.arange(span, device=positions.device).view(-1, 1, 1, 1, cache.block)
    seen = places <= positions.view(1, 1, -1, 1, 1)
    like = cache.layers[0]
    wall = torch.zeros((), dtype=like.dtype, device=like.device).masked_fill(~seen, -torch.inf)
    blocks, tokens = span // cache.block, len(positions)
    wide = wall.expand(blocks, shape.kv_heads, tokens, shape.groups, cache.block)
    return wide.reshape(blocks * shape.kv_heads, tokens * shape.groups, cache.block)


def attend(queries: torch.Tensor, cached: torch.Tensor, wall: torch.Tensor) -> torch.Tensor:
    """Return what each token takes from the tokens it may look at.

    All query heads of one key head are further rows of the same product, and so is every block of the span, so that
    keys and values are read once.

    Args:
        queries: Shape (tokens, kv_heads * groups, head_dim).
        cached: One layer of the cache, as far as it is looked at: (2, blocks, kv_heads, block, head_dim).
        wall: What `mask` made.

    Returns:
        Shape (tokens, kv_heads * groups * head_dim).
    """
    _, blocks, kv_heads, block, width = cached.shape
    tokens, heads = queries.shape[:2]
    rows = tokens * heads // kv_heads
    keys, values = cached.view(2, blocks * kv_heads, block, width).unbind()
    lined = queries.view(tokens, kv_heads, -1, width).transpose(0, 1).reshape(kv_heads, rows, width)
    asked = lined.expand(blocks, -1, -1, -1).reshape(blocks * kv_heads, rows, width)
    scores = torch.baddbmm(wall, asked, keys.transpose(1, 2), alpha=width**-0.5)
    by_row = scores.view(blocks, kv_heads, rows, block).permute(1, 2, 0, 3).reshape(kv_heads, rows, -1)
    wide = torch.float64 if queries.dtype == torch.float64 else torch.float32
    shares = torch.softmax(by_row, dim=-1, dtype=wide).to(queries.dtype)
    by_block = shares.view(kv_heads, rows, blocks, block).permute(2, 0, 1, 3)
    parts = torch.bmm(by_block.reshape(blocks * kv_heads, rows, block), values)
    taken = parts.view(blocks, kv_heads, rows, width).sum(0, dtype=wide).to(queries.dtype)
    return taken.view(kv_heads, tokens, -1, width).transpose(0, 1).reshape(tokens, heads * width)
