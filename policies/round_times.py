"""Seconds of a round by gamma: from the cost model's table where it has one, else asked one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.optional_protocols import Tabulated
    from paceline.core.protocols import Costs
    from paceline.core.records import RoundStart


def round_times(start: RoundStart, draft: str, longest: int) -> tuple[Sequence[float], float]:
    """Return the seconds of rounds of 0, 1, ..., `longest` tokens or more without a lag, and what each takes besides.

    See `Tabulated.round_s`.
    """
    costs: Costs | Tabulated = start.costs
    if hasattr(costs, "round_s"):  # isinstance(costs, Tabulated) would take longer than the answer
        return costs.round_s(draft, longest, start.context)
    return [
        costs.draft_s(draft, gamma) + costs.verify_s(gamma + 1, start.context) for gamma in range(longest + 1)
    ], 0.0
