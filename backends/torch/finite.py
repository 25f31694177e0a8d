"""Logits of a target must be numbers: NaN has a likeliest token as well, and a text of noise would come out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from paceline.backends.torch.model import Model

NONE: Final = -1
"""Stands for a choice among logits that are no numbers."""


def likeliest(logits: torch.Tensor) -> torch.Tensor:
    """Return the likeliest token of each row, `NONE` where the largest logit is NaN or infinite.

    In float32 like `generate`, also for float64 models, so that ties are broken alike: the first token wins. Logits of
    minus infinity are ordinary, since models shut out tokens with them.
    """
    largest, chosen = logits.float().max(dim=-1)
    # `where` would copy the scalar to the device, which the capture of a graph forbids.
    return chosen.masked_fill(~largest.isfinite(), NONE)


def require_finite(logits: torch.Tensor, engine: Model) -> None:
    """Refuse logits among which no likeliest can be told; waits for the device.

    Raises:
        BackendError: Blames the model.
    """
    if bool((likeliest(logits) == NONE).any()):
        raise not_finite(engine.backend, engine.name, f"{logits.dtype} on {engine.device}")


def not_finite(backend: str, name: str, where: str) -> BackendError:
    """Return the error that blames a model for logits that are no numbers."""
    return BackendError(
        f"{backend}: the logits of {name} are NaN or infinite ({where.removeprefix('torch.')}): its weights are "
        "damaged, or its numbers do not fit into that format. Copy the weights again, or use `dtype: float32`"
    )
