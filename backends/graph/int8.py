"""Matrices in int8: a quarter of the memory, and read as much faster.

Each output of a matrix has a scale of its own, and so has each row that is multiplied with it, found as it comes: the
vector-wise quantisation of LLM.int8() (Dettmers et al. 2022, arXiv:2208.07339, section 3.1), without its outliers. The
products of integers are added up exactly, in int32, so a row's result cannot depend on the rows beside it. What is
between matrices stays in float32.

The way into oneDNN is the one that torch's compiler takes for such models. It is not documented, so it is tried first.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch

from paceline.backends.graph.weights import Matrix

LARGEST: Final = 127
"""The largest integer; -128 is left out, so that the range is symmetric."""

LEAST_SCALE: Final = 1e-30
"""Rows of zeros have a scale as well."""

PART: Final = 2**20
"""Weights that are quantised at once: what they take meanwhile in float32 is small beside a model."""


class QuantisedRows(NamedTuple):
    """Rows as integers times scales: shapes (rows, inputs), int8, and (rows, 1), float32."""

    integers: torch.Tensor
    scales: torch.Tensor


def quantise(rows: torch.Tensor) -> QuantisedRows:
    """Return float32 rows as the nearest multiples of a 127th of their largest magnitude, halves to even."""
    scales = rows.abs().amax(dim=-1, keepdim=True).div_(LARGEST).clamp_(min=LEAST_SCALE)
    return QuantisedRows(rows.div(scales).round_().to(torch.int8), scales)


class QuantisedLinear:
    """A map by a packed int8 matrix of oneDNN, for float32 rows."""

    rows = 1

    def __init__(self, matrix: Matrix) -> None:
        outputs, inputs = matrix.weight.shape
        integers = torch.empty(outputs, inputs, dtype=torch.int8)
        self._scales = torch.empty(outputs)
        step = max(1, PART // inputs)
        for part in (slice(at, at + step) for at in range(0, outputs, step)):
            integers[part], scales = quantise(matrix.weight[part].float())
            self._scales[part] = scales[:, 0]
        self.weight = torch.ops.onednn.qlinear_prepack(integers, None)
        self._zeros = torch.zeros(outputs, dtype=torch.int64)
        self._bias = None if matrix.bias is None else matrix.bias.float()
        self._map = torch.ops.onednn.qlinear_pointwise.default

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the map of each row."""
        short = quantise(rows)
        product = self._product(short).mul_(short.scales)
        return product if self._bias is None else product.add_(self._bias)

    def add(self, rows: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Return the map of each row, added to `base`."""
        short = quantise(rows)
        if self._bias is not None:
            base = base + self._bias
        return torch.addcmul(base, self._product(short), short.scales)

    def _product(self, short: QuantisedRows) -> torch.Tensor:
        """Return the sums of products of integers, times the scales of the outputs."""
        return self._map(  # type: ignore[no-any-return]
            short.integers,
            1.0,
            0,
            self.weight,
            self._scales,
            self._zeros,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )


TRIED: Final = (64, 3072)
"""Outputs and inputs of the matrix that is tried: sums pass the 2^24 up to which float32 would hold them."""


def quantisation_problem(device: torch.device) -> str | None:
    """Say why matrices cannot be used in int8; None where they can."""
    if device.type != "cpu":
        return f"int8 is computed on the CPU only, and the model is on {device}"
    try:
        return _compare_with_integers()
    except (AttributeError, NotImplementedError, RuntimeError) as problem:
        return f"this build of torch or this processor has no int8 products ({str(problem).splitlines()[0]})"


@torch.inference_mode()
def _compare_with_integers() -> str | None:
    """Compare products with exact ones, among them the largest integers of one sign, where old processors overflow."""
    outputs, inputs = TRIED
    weight = torch.linspace(-1.0, 1.0, outputs * inputs).view(outputs, inputs)
    weight[0], weight[1] = 1.0, -1.0
    linear = QuantisedLinear(Matrix(weight))
    rows = torch.linspace(1.0, -1.0, 6 * inputs).view(6, inputs)
    rows[0], rows[1] = 1.0, -1.0
    (left, left_scales), (right, right_scales) = quantise(rows), quantise(weight)
    exact = (left.double() @ right.double().t()) * left_scales * right_scales.t()
    for count in (1, 6):
        # Three roundings of float32 between the integers and what comes out.
        if not torch.allclose(linear(rows[:count]).double(), exact[:count], rtol=1e-6, atol=1e-9):
            return "int8 products are not exact on this machine"
    return None
