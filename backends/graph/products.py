"""The matrices of a model, each in the form that is fastest for it; and the norms between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn import functional as F

from paceline.backends.graph.linear import LEAST_BYTES, Linear, Packed, Plain
from paceline.backends.graph.norm import normalise

if TYPE_CHECKING:
    from collections.abc import Callable

    from paceline.backends.graph.shape import Shape
    from paceline.backends.graph.weights import LayerWeights, Matrix, Weights


class FeedForward(Protocol):
    """The feed-forward network of a layer."""

    def __call__(self, rows: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Return what it makes of each row, added to `base`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LayerProducts:
    """One layer, ready for use; see `LayerWeights`."""

    attention_norm: Norm
    qkv: Linear
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None
    out: Linear
    mlp_norm: Norm
    feed_forward: FeedForward


@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """All layers and the head, ready for use.

    Attributes:
        rows: The number of rows from which the layers are cheapest.
    """

    layers: tuple[LayerProducts, ...]
    norm: Norm
    head: Linear
    rows: int


class Norm:
    """Root-mean-square normalisation of rows, with as few passes as the number format allows."""

    def __init__(self, scales: torch.Tensor, eps: float) -> None:
        self._scales = scales
        self._eps = eps
        width = len(scales)
        # x / sqrt(|x|^2 / n + eps) = x sqrt(n) / sqrt(|x|^2 + n eps): a norm and a hypotenuse, all in float32.
        self._short = scales.dtype == torch.float32
        self._wide_scales = scales * math.sqrt(width) if self._short else scales
        self._least = scales.new_full((1, 1), math.sqrt(width * eps))

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows normalised, shape (rows, hidden)."""
        if not self._short:
            return normalise(rows, self._scales, self._eps)
        length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
        return rows.div(length.hypot_(self._least)).mul_(self._wide_scales)


class Gated:
    """down(silu(gate(x)) * up(x)), with gate and up as one matrix."""

    def __init__(self, gate_up: Linear, down: Linear) -> None:
        self._gate_up = gate_up
        self._down = down

    def __call__(self, rows: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Return what it makes of each row, added to `base`."""
        gate, up = self._gate_up(rows).chunk(2, dim=-1)
        return self._down.add(F.silu(gate).mul_(up), base)


class PackedGated:
    """The same with packed matrices, where the gate's function and the product cost no pass of their own."""

    def __init__(self, gate: Packed, up: Packed, down: Linear) -> None:
        self._gate = gate
        self._up = up
        self._down = down

    def __call__(self, rows: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Return what it makes of each row, added to `base`."""
        return self._down.add(self._up.times(rows, self._gate.silu(rows)), base)


def prepare(shape: Shape, weights: Weights, *, packed: bool, same_bits: bool) -> Products:
    """Return the matrices of a model, ready for use.

    Args:
        shape: Of the model.
        weights: Its weights.
        packed: Pack those for which it pays.
        same_bits: Make every product add up the same way for any number of rows; needs `packed`.
    """
    form = _forms(packed=packed, same_bits=same_bits)
    layers = tuple(_layer(shape, layer, form) for layer in weights.layers)
    return Products(
        layers,
        Norm(weights.norm, shape.norm_eps),
        form(weights.head),
        rows=max(layer.qkv.rows for layer in layers),
    )


def _forms(*, packed: bool, same_bits: bool) -> Callable[[Matrix], Linear]:
    def form(matrix: Matrix) -> Linear:
        pays = packed and matrix.weight.nbytes >= LEAST_BYTES
        return Packed(matrix) if same_bits or pays else Plain(matrix)

    return form


def _layer(shape: Shape, weights: LayerWeights, form: Callable[[Matrix], Linear]) -> LayerProducts:
    return LayerProducts(
        attention_norm=Norm(weights.attention_norm, shape.norm_eps),
        qkv=form(weights.qkv),
        query_norm=weights.query_norm,
        key_norm=weights.key_norm,
        out=form(weights.out),
        mlp_norm=Norm(weights.mlp_norm, shape.norm_eps),
        feed_forward=_feed_forward(shape, weights, form),
    )


def _feed_forward(shape: Shape, weights: LayerWeights, form: Callable[[Matrix], Linear]) -> FeedForward:
    both, down = weights.gate_up, form(weights.down)
    gate, up = (form(both.outputs(half)) for half in (slice(shape.inner), slice(shape.inner, None)))
    if isinstance(gate, Packed) and isinstance(up, Packed):
        return PackedGated(gate, up, down)
    return Gated(form(both), down)
