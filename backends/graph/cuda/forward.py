"""One pass through the model on static buffers: every shape fixed, every position a number on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch.nn import functional as F

from paceline.backends.graph.layers import apply_rotary, rms_norm

if TYPE_CHECKING:
    from paceline.backends.graph.shape import Shape
    from paceline.backends.graph.weights import LayerWeights, Matrix, Weights


BLOCK: Final = 256
"""Tokens in a block. Each block of each head is a product of its own, so that a long context keeps a whole GPU busy
though only a few tokens ask (as in Flash-Decoding, Dao et al. 2023, https://pytorch.org/blog/flash-decoding/)."""


class BlockCache:
    """Room for a fixed number of tokens.

    A query at position p looks at positions 0 ... p, and each of these was written before, so what lies beyond is never
    read, and going back needs no work at all. The last position, `scratch`, takes what must be written somewhere and is
    of no use.

    Args:
        shape: Of the model.
        capacity: Tokens.
        like: A tensor of the wanted device and number format.
        block: Tokens in a block.

    Attributes:
        layers: For each layer one tensor of shape (2, blocks, kv_heads, block, head_dim): keys, then values.
        scratch: The position after the last useful one.
        room: Positions in all, a whole number of blocks.
    """

    __slots__ = ("_heads", "block", "capacity", "layers", "room", "scratch")

    def __init__(self, shape: Shape, capacity: int, like: torch.Tensor, *, block: int = BLOCK) -> None:
        blocks = capacity // block + 1  # one position more than `capacity`
        # Zeros, because attention multiplies also what it gives no weight: a NaN would spread.
        size = (2, blocks, shape.kv_heads, block, shape.head_dim)
        self.layers = tuple(
            torch.zeros(size, dtype=like.dtype, device=like.device) for _ in range(shape.layers)
        )
        self.capacity = capacity
        self.scratch = capacity
        self.block = block
        self.room = blocks * block
        self._heads = torch.arange(shape.kv_heads, device=like.device) * block

    def rows(self, positions: torch.Tensor) -> torch.Tensor:
        """Return where keys or values of tokens go, shape (tokens * kv_heads,), in a layer seen as rows of a head."""
        block = torch.div(positions, self.block, rounding_mode="floor")
        first = block * (len(self._heads) * self.block) + positions - block * self.block
        return (first[:, None] + self._heads).flatten()


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
    attn_mask = torch.zeros((), dtype=like.dtype, device=like.device).masked_fill(~seen, -torch.inf)
    blocks, tokens = span // cache.block, len(positions)
    wide = attn_mask.expand(blocks, shape.kv_heads, tokens, shape.groups, cache.block)
    return wide.reshape(blocks * shape.kv_heads, tokens * shape.groups, cache.block)


def attend(queries: torch.Tensor, cached: torch.Tensor, attn_mask: torch.Tensor) -> torch.Tensor:
    """Return what each token takes from the tokens it may look at.

    All query heads of one key head are further rows of the same product, and so is every block of the span, so that
    keys and values are read once.

    Args:
        queries: Shape (tokens, kv_heads * groups, head_dim).
        cached: One layer of the cache, as far as it is looked at: (2, blocks, kv_heads, block, head_dim).
        attn_mask: What `mask` made.

    Returns:
        Shape (tokens, kv_heads * groups * head_dim).
    """
    _, blocks, kv_heads, block, width = cached.shape
    tokens, heads = queries.shape[:2]
    rows = tokens * heads // kv_heads
    keys, values = cached.view(2, blocks * kv_heads, block, width).unbind()
    q = queries.view(tokens, kv_heads, -1, width).transpose(0, 1).reshape(kv_heads, rows, width)
    q_blocks = q.expand(blocks, -1, -1, -1).reshape(blocks * kv_heads, rows, width)
    scores = torch.baddbmm(attn_mask, q_blocks, keys.transpose(1, 2), alpha=width**-0.5)
    by_row = scores.view(blocks, kv_heads, rows, block).permute(1, 2, 0, 3).reshape(kv_heads, rows, -1)
    wide = torch.float64 if queries.dtype == torch.float64 else torch.float32
    probs = torch.softmax(by_row, dim=-1, dtype=wide).to(queries.dtype)
    by_block = probs.view(kv_heads, rows, blocks, block).permute(2, 0, 1, 3)
    parts = torch.bmm(by_block.reshape(blocks * kv_heads, rows, block), values)
    out = parts.view(blocks, kv_heads, rows, width).sum(0, dtype=wide).to(queries.dtype)
    return out.view(kv_heads, tokens, -1, width).transpose(0, 1).reshape(tokens, heads * width)


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A model as the programs see it: its shape and its weights, all on one device.

    Attributes:
        layers: Each with one map to gate and values.
    """

    shape: Shape
    weights: Weights
    layers: tuple[LayerWeights, ...]

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits of rows that `forward` gave, shape (rows, vocabulary)."""
        return _map(hidden, self.weights.head)


def forward(
    network: Network, cache: BlockCache, tokens: torch.Tensor, positions: torch.Tensor, span: int
) -> torch.Tensor:
    """Put keys and values of tokens into the cache; return the hidden states after the last norm: (tokens, hidden).

    Args:
        network: The model.
        cache: Written at `positions`.
        tokens: Shape (tokens,), int64.
        positions: The same; at most `cache.scratch`.
        span: Positions that attention looks at: a whole number of blocks, more than the largest position but scratch.
    """
    shape, weights = network.shape, network.weights
    turns = positions.clamp(max=len(weights.rope.cos) - 1)  # `scratch` may lie one beyond the table
    cos, sin = weights.rope.cos.index_select(0, turns), weights.rope.sin.index_select(0, turns)
    rows = cache.rows(positions)
    attn_mask = mask(cache, shape, positions, span)
    hidden = F.embedding(tokens, weights.embedding)
    for layer, cached in zip(network.layers, cache.layers, strict=True):
        normed = _norm(hidden, layer.attention_norm, shape.norm_eps)
        queries = _write(shape, layer, normed, cached, rows, cos, sin)
        attended = attend(queries, cached[:, : span // cache.block], attn_mask)
        hidden = hidden + _map(attended, layer.out)
        (gate_up,) = layer.gate_up
        gate, up = _map(_norm(hidden, layer.mlp_norm, shape.norm_eps), gate_up).chunk(2, dim=-1)
        hidden = hidden + _map(F.silu(gate) * up, layer.down)
    return _norm(hidden, weights.norm, shape.norm_eps)


def _write(
    shape: Shape,
    layer: LayerWeights,
    normed: torch.Tensor,
    cached: torch.Tensor,
    rows: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
) -> torch.Tensor:
    """Put keys and values into the cache; return the queries, shape (tokens, heads, head_dim)."""
    turning = shape.heads + shape.kv_heads
    heads = _map(normed, layer.qkv).view(len(normed), turning + shape.kv_heads, shape.head_dim)
    if layer.query_norm is not None and layer.key_norm is not None:
        heads[:, : shape.heads] = _norm(heads[:, : shape.heads], layer.query_norm, shape.norm_eps)
        keys = heads[:, shape.heads : turning]
        keys.copy_(_norm(keys, layer.key_norm, shape.norm_eps))
    apply_rotary(heads[:, :turning], cos, sin)
    for kind, fresh in enumerate((heads[:, shape.heads : turning], heads[:, turning:])):
        cached[kind].view(-1, shape.head_dim).index_copy_(0, rows, fresh.reshape(-1, shape.head_dim))
    return heads[:, : shape.heads]


def _norm(values: torch.Tensor, scales: torch.Tensor, eps: float) -> torch.Tensor:
    """Normalise; in short floats by torch's own kernel, one instead of eight, which rounds once less."""
    if values.dtype in {torch.bfloat16, torch.float16}:
        return F.rms_norm(values, scales.shape, scales, eps)
    return rms_norm(values, scales, eps)


def _map(rows: torch.Tensor, matrix: Matrix) -> torch.Tensor:
    return F.linear(rows, matrix.weight, matrix.bias)
