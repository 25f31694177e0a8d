"""Normalisation and rotary positions, as transformers computes them.

A head's first half `a` and second half `b` become `a cos - b sin` and `b cos + a sin` (Su et al., RoFormer,
arXiv:2104.09864, in the half-split order of transformers). With the halves swapped and the sign kept in the table, that
is `x cos + swapped(x) sin`: no negation and no concatenation in a pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


def rms_norm(values: torch.Tensor, scales: torch.Tensor, eps: float) -> torch.Tensor:
    """Return values / sqrt(mean(values^2) + eps) * scales over the last dimension.

    The root is taken in float32 whatever the number format, float64 included, since transformers does so.
    """
    wide = values.float()
    root = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return scales * (wide * root).to(values.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class RopeTable:
    """The turns of all positions.

    Attributes:
        cos: Shape (positions, 1, head_dim).
        sin: The same, the first half negated.
    """

    cos: torch.Tensor
    sin: torch.Tensor


def rope_table(module: Any, positions: int, like: torch.Tensor) -> RopeTable:
    """Return the table of a model.

    Args:
        module: Its rotary embedding; whatever scaling it has is in what it returns.
        positions: From 0 up to here.
        like: A tensor of the wanted device and number format.
    """
    numbers = torch.arange(positions, device=like.device)[None]
    cos, sin = (table[0].unsqueeze(1) for table in module(like[:1], numbers))
    half = cos.shape[-1] // 2
    return RopeTable(cos.contiguous(), torch.cat([-sin[..., :half], sin[..., half:]], dim=-1))


def apply_rotary(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    """Turn heads by their positions, in place.

    Args:
        heads: Shape (tokens, heads, head_dim).
        cos: Rows of the table, shape (tokens, 1, head_dim).
        sin: The same rows of the other.
    """
    swapped = heads.roll(heads.shape[-1] // 2, dims=-1)
    heads.mul_(cos).addcmul_(swapped, sin)
