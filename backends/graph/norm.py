"""Root-mean-square normalisation (Zhang and Sennrich, arXiv:1910.07467), as transformers computes it."""

from __future__ import annotations

import torch


def normalise(values: torch.Tensor, scales: torch.Tensor, eps: float) -> torch.Tensor:
    """Return values / sqrt(mean(values^2) + eps) * scales over the last dimension.

    The root is taken in float32 whatever the number format, float64 included, since transformers does so.
    """
    wide = values.float()
    root = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return scales * (wide * root).to(values.dtype)
