"""Products with the weights, on the CPU through matrices that were packed once.

For a few rows a product costs what reading the matrix costs, if the matrix lies in memory as the kernel wants it.
torch's own `linear` goes from one kernel to another between one row and two, and packs the matrix in each call;
oneDNN's takes one that was packed before. That way in is private to torch, so it is tried first, and left alone where
it fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from paceline.backends.graph.weights import Matrix

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

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the map of each row."""
        ...

    def add(self, rows: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Return the map of each row, added to `base`."""
        ...


class Plain:
    """A map by torch's own `linear`; for every device and number format."""

    rows = 1

    def __init__(self, matrix: Matrix) -> None:
        self._weight = matrix.weight
        self._bias = matrix.bias

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the map of each row."""
        return F.linear(rows, self._weight, self._bias)

    def add(self, rows: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Return the map of each row, added to `base`."""
        return F.linear(rows, self._weight, self._bias).add_(base)


class Packed:
    """A map by a packed matrix of oneDNN."""

    rows = LEAST_ROWS

    def __init__(self, matrix: Matrix) -> None:
        ops = torch.ops.mkldnn
        self._weight = ops._reorder_linear_weight(matrix.weight.contiguous(), HINT)  # noqa: SLF001 - no public way in
        self._bias = matrix.bias
        self._map = ops._linear_pointwise.default  # noqa: SLF001
        self._join = ops._linear_pointwise.binary  # noqa: SLF001

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the map of each row."""
        return self._map(rows, self._weight, self._bias, "none", [], "")  # type: ignore[no-any-return]

    def add(self, rows: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Return the map of each row, added to `base`."""
        return self._join(rows, base, self._weight, self._bias, "add")  # type: ignore[no-any-return]

    def silu(self, rows: torch.Tensor) -> torch.Tensor:
        """Return x / (1 + exp(-x)) of the map of each row."""
        return self._map(rows, self._weight, self._bias, "swish", [], "")  # type: ignore[no-any-return]

    def times(self, rows: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        """Return the map of each row, multiplied by `factors`."""
        return self._join(rows, factors, self._weight, self._bias, "mul")  # type: ignore[no-any-return]
