"""Whether torch can pack matrices for oneDNN here: found out by packing one and multiplying with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from paceline.backends.graph.linear import Packed, Plain
from paceline.backends.graph.weights import Matrix

if TYPE_CHECKING:
    from paceline.backends.graph.weights import Weights


def packing_problem(weights: Weights) -> str | None:
    """Say why the matrices of a model cannot be packed; None where they can."""
    if weights.device.type != "cpu":
        return f"matrices are packed on the CPU only, and the model is on {weights.device}"
    if weights.dtype not in {torch.float32, torch.bfloat16}:
        return f"only float32 and bfloat16 matrices can be packed, found {str(weights.dtype).removeprefix('torch.')}"
    try:
        return _try(weights.dtype)
    except (AttributeError, NotImplementedError, RuntimeError) as problem:
        return f"this build of torch or this processor cannot pack matrices ({str(problem).splitlines()[0]})"


@torch.inference_mode()
def _try(dtype: torch.dtype) -> str | None:
    """Compare all that a packed matrix can do with plain products."""
    numbers = torch.linspace(-1.0, 1.0, 32 * 48)
    matrix = Matrix(numbers.view(32, 48).to(dtype), numbers[:32].to(dtype))
    rows, other = numbers[: 4 * 48].view(4, 48).to(dtype), numbers[: 4 * 32].view(4, 32).to(dtype)
    packed, plain = Packed(matrix), Plain(matrix)(rows).float()
    pairs = (
        (packed(rows), plain),
        (packed.add(rows, other), plain + other),
        (packed.silu(rows), torch.nn.functional.silu(plain)),
        (packed.times(rows, other), plain * other),
    )
    # Sums of 48 products of numbers below 1, with a relative rounding of 2^-8 in bfloat16.
    if all(torch.allclose(found.float(), wanted, rtol=2e-2, atol=2e-2) for found, wanted in pairs):
        return None
    return "packed matrices give other products than plain ones on this machine"
