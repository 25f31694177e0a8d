"""The signals of a draft token, worked out and judged on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from paceline.core.records import TokenSignals

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from paceline.core.records import Signal, StopRule

MEASURED: Final[tuple[Signal, ...]] = ("top1", "prob", "entropy", "margin")
"""In the order in which they lie in a buffer."""

NEVER: Final = (0.0, 0.0, 0.0)
"""The rule that never stops, as `rule_numbers` gives rules."""


def measure(scores: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
    """Return the signals of one position, float64, shape (len(MEASURED),).

    Args:
        scores: Shape (vocabulary,), of the distribution that the token was drawn from.
        token: Shape (1,).
    """
    logs = torch.log_softmax(scores, dim=-1)
    best = logs.topk(min(2, len(logs))).values.exp()
    margin = best[0] - best[1] if len(best) > 1 else best[0]
    entropy = torch.special.entr(logs.exp()).sum()
    return torch.stack([best[0], logs.index_select(0, token)[0].exp(), entropy, margin]).double()


def rule_numbers(rule: StopRule | None) -> tuple[float, float, float]:
    """Return a rule as numbers: which signal, a sign, and the bound times that sign."""
    if rule is None:
        return NEVER
    place = float(MEASURED.index(rule.signal))
    if rule.above is not None:
        return place, 1.0, float(rule.above)
    assert rule.below is not None
    return place, -1.0, -float(rule.below)


def stops(measured: torch.Tensor, rule: torch.Tensor) -> torch.Tensor:
    """Tell whether a rule, as three numbers on the device, ends drafting after a token; shape (1,)."""
    place, sign, bound = rule[0:1].long(), rule[1:2], rule[2:3]
    # Beyond the bound strictly, as `StopRule.stops`; with sign 0, never.
    return measured.index_select(0, place) * sign > bound


def tell(
    rows: Sequence[Sequence[float]], tokens: Sequence[int], wanted: Collection[Signal]
) -> tuple[TokenSignals, ...]:
    """Return the records of the tokens, each with the signals that were asked for."""
    return tuple(
        TokenSignals(
            place,
            **{name: row[MEASURED.index(name)] for name in wanted if name != "token"},
            token=token if "token" in wanted else None,
        )
        for place, (row, token) in enumerate(zip(rows, tokens, strict=True))
    )
