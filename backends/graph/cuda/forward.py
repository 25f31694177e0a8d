"""One pass through the model on static buffers: every shape fixed, every position a number on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from paceline.backends.graph.cuda.attention import attend, mask
from paceline.backends.graph.norm import normalise
from paceline.backends.graph.rope import turn

if TYPE_CHECKING:
    from paceline.backends.graph.cuda.cache import BlockCache
    from paceline.backends.graph.shape import Shape
    from paceline.backends.graph.weights import LayerWeights, Matrix, Weights


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A model as the programs see it: its shape and its weights, all on one device."""

    shape: Shape
    weights: Weights

    def head(self, stream: torch.Tensor) -> torch.Tensor:
        """Return the logits of rows that `forward` gave, shape (rows, vocabulary)."""
        return _map(stream, self.weights.head)


def forward(
    network: Network, cache: BlockCache, tokens: torch.Tensor, positions: torch.Tensor, span: int
) -> torch.Tensor:
    """Put keys and values of tokens into the cache; return the stream after the last norm, shape (tokens, hidden).

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
    wall = mask(cache, shape, positions, span)
    stream = F.embedding(tokens, weights.embedding)
    for layer, cached in zip(weights.layers, cache.layers, strict=True):
        normed = _norm(stream, layer.attention_norm, shape.norm_eps)
        queries = _write(shape, layer, normed, cached, rows, cos, sin)
        found = attend(queries, cached[:, : span // cache.block], wall)
        stream = stream + _map(found, layer.out)
        gate, up = _map(_norm(stream, layer.mlp_norm, shape.norm_eps), layer.gate_up).chunk(2, dim=-1)
        stream = stream + _map(F.silu(gate) * up, layer.down)
    return _norm(stream, weights.norm, shape.norm_eps)


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
    turn(heads[:, :turning], cos, sin)
    for kind, fresh in enumerate((heads[:, shape.heads : turning], heads[:, turning:])):
        cached[kind].view(-1, shape.head_dim).index_copy_(0, rows, fresh.reshape(-1, shape.head_dim))
    return heads[:, : shape.heads]


def _norm(values: torch.Tensor, scales: torch.Tensor, eps: float) -> torch.Tensor:
    """Normalise; in short floats by torch's own kernel, one instead of eight, which rounds once less."""
    if values.dtype in {torch.bfloat16, torch.float16}:
        return F.rms_norm(values, scales.shape, scales, eps)
    return normalise(values, scales, eps)


def _map(rows: torch.Tensor, matrix: Matrix) -> torch.Tensor:
    return F.linear(rows, matrix.weight, matrix.bias)
