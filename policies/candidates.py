"""What a round leaves open to choose from: the gammas the engine and the budget allow, and the draft."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from paceline.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.records import RoundStart


def candidates(start: RoundStart, max_gamma: int) -> Sequence[int]:
    """Return the gammas that may be planned, ascending and never empty.

    All lie in 0..min(max_gamma, budget). An engine's fixed set is respected, and 0 is left out where the engine
    always drafts. Where every gamma of such an engine is above `max_gamma`, its smallest remains; where every one
    is above the budget the answer is (0,), for the budget outranks the engine's set.
    """
    top = min(max_gamma, start.budget) if start.lags else 0
    able = start.capabilities
    if able.gammas is None:
        return range(0 if able.zero_gamma or top < 1 else 1, max(top, 0) + 1)
    fitting = [gamma for gamma in able.gammas if 0 < gamma <= top]
    if able.zero_gamma:
        return [0, *fitting]
    if not fitting and start.lags:
        fitting = [gamma for gamma in able.gammas if 0 < gamma <= start.budget][:1]
    return fitting or (0,)


def drafting(gammas: Sequence[int]) -> Sequence[int]:
    """Return those of ascending `gammas` that draft anything."""
    return gammas[1:] if gammas[0] == 0 else gammas


def at_most(gammas: Sequence[int], wanted: int) -> int:
    """Return the largest of ascending `gammas` that is not above `wanted`, or the smallest of them."""
    return gammas[max(bisect_right(gammas, wanted) - 1, 0)]


def chosen_draft(start: RoundStart, name: str | None) -> str | None:
    """Return the draft of this name, the first one listed when `name` is None, or None when there is no draft.

    Raises:
        ConfigError: No draft has this name.
    """
    if name is None:
        return next(iter(start.lags), None)
    if name not in start.lags:
        listed = ", ".join(start.lags) or "none"
        raise ConfigError(
            f"the policy's option `draft` is {name!r}, but the drafts are: {listed}; name one of them, "
            "or leave the option out"
        )
    return name
