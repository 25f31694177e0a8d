"""Products with the weights, each matrix in the form that is fastest for it, and the norms between them.

For a few rows a product costs what reading the matrix costs, if the matrix lies in memory as the kernel wants it.
torch's own `linear` goes from one kernel to another between one row and two, and packs the matrix in each call;
oneDNN's takes one that was packed before. That way in is private to torch, so it is tried first, and left alone where
it fails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import torch
from torch.nn import functional as F

from paceline.backends.graph.int8 import QuantisedLinear, quantisation_problem
from paceline.backends.graph.layers import rms_norm
from paceline.backends.graph.weights import Matrix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from paceline.backends.graph.shape import Shape
    from paceline.backends.graph.weights import LayerWeights, Weights


HINT: Final = 8
"""Rows that a matrix is packed for. From 8 on the layout is the same, whatever number of rows it is used with."""

LEAST_ROWS: Final = 4
"""The kernels take six rows at a time: 4 to 6 rows cost the same, and 1 to 3 cost up to a third more than 4. Besides,
a single row of more than 1024 inputs is added up in another order than several rows, which must not be where the same
bits are promised."""

LEAST_BYTES: Final = 2**20
"""Smaller matrices stay in the cache of the core, where the call is dearer than the packing: measured even here."""


class Linear(Protocol):
    """A linear map of rows; shape (rows, inputs) to (rows, outputs)."""

    rows: int
    """The number of rows from which it is cheapest."""

    weight: torch.Tensor
    """The matrix, perhaps in a layout of oneDNN's."""

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the map of each row."""
        ...

    def add(self, rows: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Return the map of each row, added to `base`."""
        ...


class PlainLinear:
    """A map by torch's own `linear`; for every device and number format."""

    rows = 1

    def __init__(self, matrix: Matrix) -> None:
        self.weight = matrix.weight
        self._bias = matrix.bias

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the map of each row."""
        return F.linear(rows, self.weight, self._bias)

    def add(self, rows: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Return the map of each row, added to `base`."""
        return F.linear(rows, self.weight, self._bias).add_(base)


class PackedLinear:
    """A map by a packed matrix of oneDNN."""

    rows = LEAST_ROWS

    def __init__(self, matrix: Matrix) -> None:
        ops = torch.ops.mkldnn
        self.weight = ops._reorder_linear_weight(matrix.weight.contiguous(), HINT)  # noqa: SLF001 - no public way in
        self._bias = matrix.bias
        self._map = ops._linear_pointwise.default  # noqa: SLF001
        self._join = ops._linear_pointwise.binary  # noqa: SLF001

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the map of each row."""
        return self._map(rows, self.weight, self._bias, "none", [], "")  # type: ignore[no-any-return]

    def add(self, rows: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Return the map of each row, added to `base`."""
        return self._join(rows, base, self.weight, self._bias, "add")  # type: ignore[no-any-return]

    def silu(self, rows: torch.Tensor) -> torch.Tensor:
        """Return x / (1 + exp(-x)) of the map of each row."""
        return self._map(rows, self.weight, self._bias, "swish", [], "")  # type: ignore[no-any-return]

    def times(self, rows: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        """Return the map of each row, multiplied by `factors`."""
        return self._join(rows, factors, self.weight, self._bias, "mul")  # type: ignore[no-any-return]


def packing_problem(dtype: torch.dtype, device: torch.device) -> str | None:
    """Say why the matrices of a model cannot be packed; None where they can.

    Args:
        dtype: Their number format, int8 included.
        device: Where the model is.
    """
    if dtype == torch.int8:
        return quantisation_problem(device)
    if device.type != "cpu":
        return f"matrices are packed on the CPU only, and the model is on {device}"
    if dtype not in {torch.float32, torch.bfloat16}:
        return f"only float32 and bfloat16 matrices can be packed, found {str(dtype).removeprefix('torch.')}"
    try:
        return _compare_packed(dtype)
    except (AttributeError, NotImplementedError, RuntimeError) as problem:
        return f"this build of torch or this processor cannot pack matrices ({str(problem).splitlines()[0]})"


@torch.inference_mode()
def _compare_packed(dtype: torch.dtype) -> str | None:
    """Compare all that a packed matrix can do with plain products."""
    numbers = torch.linspace(-1.0, 1.0, 32 * 48)
    matrix = Matrix(numbers.view(32, 48).to(dtype), numbers[:32].to(dtype))
    rows, other = numbers[: 4 * 48].view(4, 48).to(dtype), numbers[: 4 * 32].view(4, 32).to(dtype)
    packed, plain = PackedLinear(matrix), PlainLinear(matrix)(rows).float()
    pairs = (
        (packed(rows), plain),
        (packed.add(rows, other), plain + other),
        (packed.silu(rows), torch.nn.functional.silu(plain)),
        (packed.times(rows, other), plain * other),
    )
    # Sums of 48 products of numbers below 1, with a relative rounding of 2^-8 in bfloat16.
    if all(torch.allclose(product.float(), expected, rtol=2e-2, atol=2e-2) for product, expected in pairs):
        return None
    return "packed matrices give other products than plain ones on this machine"


class FeedForward(Protocol):
    """The feed-forward network of a layer."""

    matrices: tuple[Linear, ...]

    def __call__(self, rows: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Return what it makes of each row, added to `base`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LayerProducts:
    """One layer, ready for use; see `LayerWeights`."""

    attention_norm: RmsNorm
    qkv: Linear
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None
    out: Linear
    mlp_norm: RmsNorm
    feed_forward: FeedForward


@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """All layers and the head, ready for use.

    Attributes:
        rows: The number of rows from which the layers are cheapest.
    """

    layers: tuple[LayerProducts, ...]
    norm: RmsNorm
    head: Linear
    rows: int

    def packed(self) -> Iterator[torch.Tensor]:
        """Yield the packed matrices, in the order in which a pass reads them."""
        for layer in self.layers:
            for linear in (layer.qkv, layer.out, *layer.feed_forward.matrices):
                if not isinstance(linear, PlainLinear):
                    yield linear.weight
        if not isinstance(self.head, PlainLinear):
            yield self.head.weight


class RmsNorm:
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
            return rms_norm(rows, self._scales, self._eps)
        length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
        return rows.div(length.hypot_(self._least)).mul_(self._wide_scales)


class GatedMlp:
    """down(silu(gate(x)) * up(x)), with gate and up as one matrix."""

    def __init__(self, gate_up: Linear, down: Linear) -> None:
        self.matrices: tuple[Linear, ...] = (gate_up, down)
        self._gate_up = gate_up
        self._down = down

    def __call__(self, rows: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Return what it makes of each row, added to `base`."""
        gate, up = self._gate_up(rows).chunk(2, dim=-1)
        return self._down.add(F.silu(gate).mul_(up), base)


class PackedGatedMlp:
    """The same with packed matrices, where the gate's function and the product cost no pass of their own."""

    def __init__(self, gate: PackedLinear, up: PackedLinear, down: Linear) -> None:
        self.matrices: tuple[Linear, ...] = (gate, up, down)
        self._gate = gate
        self._up = up
        self._down = down

    def __call__(self, rows: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Return what it makes of each row, added to `base`."""
        return self._down.add(self._up.times(rows, self._gate.silu(rows)), base)


def prepare(
    shape: Shape,
    weights: Weights,
    layers: Iterable[LayerWeights],
    dtype: torch.dtype,
    *,
    packed: bool,
    same_bits: bool,
) -> Products:
    """Return the matrices of a model, ready for use.

    Args:
        shape: Of the model.
        weights: Its weights.
        layers: Its layers, each let go once it is prepared.
        dtype: The number format of the matrices; those in int8 are always packed.
        packed: Pack those for which it pays.
        same_bits: Make every product add up the same way for any number of rows; needs `packed`.
    """
    form = Form(dtype, packed=packed, same_bits=same_bits)
    head = form(weights.head)  # first, while all that is in memory beside it is its source
    # A map, unlike a loop, holds no layer while it waits for the next one.
    prepared = tuple(map(partial(_layer, shape, form), layers))
    return Products(
        prepared,
        RmsNorm(weights.norm, shape.norm_eps),
        head,
        rows=max(layer.qkv.rows for layer in prepared),
    )


@dataclass(frozen=True, slots=True)
class Form:
    """The form that matrices are brought into; see `prepare`."""

    dtype: torch.dtype
    packed: bool
    same_bits: bool

    def __call__(self, matrix: Matrix) -> Linear:
        """Return a matrix in its form."""
        if self.dtype == torch.int8:
            return QuantisedLinear(matrix)
        return (PackedLinear if self.packs(matrix) else PlainLinear)(matrix.to(self.dtype))

    def packs(self, matrix: Matrix) -> bool:
        """Tell whether it becomes a packed matrix of floating-point numbers."""
        if not self.packed or self.dtype == torch.int8:
            return False
        return self.same_bits or matrix.weight.numel() * self.dtype.itemsize >= LEAST_BYTES


def _layer(shape: Shape, form: Form, weights: LayerWeights) -> LayerProducts:
    return LayerProducts(
        attention_norm=RmsNorm(weights.attention_norm, shape.norm_eps),
        qkv=form(weights.qkv),
        query_norm=weights.query_norm,
        key_norm=weights.key_norm,
        out=form(weights.out),
        mlp_norm=RmsNorm(weights.mlp_norm, shape.norm_eps),
        feed_forward=_feed_forward(weights, form),
    )


def _feed_forward(weights: LayerWeights, form: Form) -> FeedForward:
    gate, up = weights.gate_up
    if form.packs(gate):
        return PackedGatedMlp(
            PackedLinear(gate.to(form.dtype)), PackedLinear(up.to(form.dtype)), form(weights.down)
        )
    return GatedMlp(form(Matrix.side_by_side(gate, up)), form(weights.down))
