"""The signals of one draft token, computed where its logits are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from paceline.core.records import TokenSignals

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paceline.core.records import Signal


@torch.inference_mode()
def measure(
    logits: torch.Tensor, token: torch.Tensor, position: int, wanted: Iterable[Signal]
) -> TokenSignals:
    """Return the wanted signals of one position, at the price of one copy from the device.

    Args:
        logits: float32, shape (vocabulary,), of the distribution that the token was drawn from.
        token: The token drawn, shape (1,).
        position: 0 for the first draft token of the round.
        wanted: Only these are computed.

    Returns:
        top1: largest probability; prob: that of the token; margin: largest minus second; entropy: -sum p log p, in
        nats; token: the token itself.
    """
    names = sorted(wanted)
    logs = torch.log_softmax(logits, dim=-1)
    columns: dict[str, torch.Tensor] = {}
    if "entropy" in names:
        columns["entropy"] = torch.special.entr(logs.exp()).sum()
    if "top1" in names or "margin" in names:
        best = logs.topk(min(2, logs.shape[-1])).values.exp()
        columns["top1"] = best[0]
        columns["margin"] = best[0] - best[1] if len(best) > 1 else best[0]
    if "prob" in names:
        columns["prob"] = logs[token[0]].exp()
    if "token" in names:
        columns["token"] = token[0].to(torch.float64)  # exact for every vocabulary
    numbers = torch.stack([columns[name] for name in names]).tolist() if names else []
    found = dict(zip(names, numbers, strict=True))
    if "token" in found:
        found["token"] = int(found["token"])
    return TokenSignals(position, **found)
