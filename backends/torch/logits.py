"""Readings of logits: the likeliest token, where they are numbers, and the signals of a draft token.

Logits of a target must be numbers: NaN has a likeliest token as well, and a text of noise would come out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from paceline.core.errors import BackendError
from paceline.core.records import TokenSignals

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paceline.backends.torch.engine import Engine
    from paceline.core.records import Signal


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


def require_finite(logits: torch.Tensor, engine: Engine) -> None:
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


@torch.inference_mode()
def token_signals(
    scores: torch.Tensor, token: torch.Tensor, position: int, names: Iterable[Signal]
) -> TokenSignals:
    """Return signals of one draft token, at the price of one copy from the device.

    Args:
        scores: float32, shape (vocabulary,), of the distribution that the token was drawn from.
        token: The token drawn, shape (1,).
        position: 0 for the first draft token of the round.
        names: Only these are computed.
    """
    names = sorted(names)
    values = signal_values(scores, token, names).tolist() if names else []
    signals = dict(zip(names, values, strict=True))
    if "token" in signals:
        signals["token"] = int(signals["token"])
    return TokenSignals(position, **signals)


def signal_values(scores: torch.Tensor, token: torch.Tensor, names: Sequence[Signal]) -> torch.Tensor:
    """Return signals of one draft token in the order of `names`, shape (len(names),); nothing is copied.

    top1: largest probability; prob: that of the token; margin: largest minus second; entropy: -sum p log p, in nats;
    token: the token itself.
    """
    logs = torch.log_softmax(scores, dim=-1)
    columns: dict[str, torch.Tensor] = {}
    if "entropy" in names:
        columns["entropy"] = torch.special.entr(logs.exp()).sum()
    if "top1" in names or "margin" in names:
        best = logs.topk(min(2, logs.shape[-1])).values.exp()
        columns["top1"] = best[0]
        columns["margin"] = best[0] - best[1] if len(best) > 1 else best[0]
    if "prob" in names:
        # An index that is a tensor would be read by the host.
        columns["prob"] = logs.index_select(0, token)[0].exp()
    if "token" in names:
        columns["token"] = token[0].to(torch.float64)  # exact for every vocabulary
    return torch.stack([columns[name] for name in names])
