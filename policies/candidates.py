"""What policies choose from: among the gammas that a round leaves open, and the draft."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from paceline.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.records import RoundStart

LARGEST: Final = 1024
"""The largest gamma that a policy may be told to consider: its figures, and each decision, grow with it."""


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
        return next(iter(start.drafts), None)
    if name not in start.drafts:
        listed = ", ".join(start.drafts) or "none"
        raise ConfigError(
            f"the policy's option `draft` is {name!r}, but the drafts are: {listed}; name one of them, "
            "or leave the option out"
        )
    return name
