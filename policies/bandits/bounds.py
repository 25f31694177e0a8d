"""The arm of the highest upper confidence bound."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.policies.rates import Rates


def most_promising(rates: Rates, arms: Sequence[int], exploration: float, *, normalise: bool = True) -> int:
    """Return the arm of most x_i + c sqrt(log(N + 1) / n_i), the first one among equals.

    n_i is the number of rounds of arm i, N that of all arms, and c is `exploration`. x_i is the rate of the arm,
    divided by the highest rate of the arms offered unless `normalise` is off. Every arm offered must have been tried.
    """
    log = math.log(rates.rounds() + 1.0)
    values = [rates.rate(arm) for arm in arms]
    unit = (max(values) or 1.0) if normalise else 1.0
    bounds = [
        value / unit + exploration * math.sqrt(log / rates.rounds(arm))
        for arm, value in zip(arms, values, strict=True)
    ]
    return arms[bounds.index(max(bounds))]
