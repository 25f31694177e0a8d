"""Options that several policies have: the draft, the largest gamma, what is assumed of a draft, a policy for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field, FiniteFloat

from paceline.core.config.resolve import AnyPolicy
from paceline.core.errors import ConfigError

if TYPE_CHECKING:
    from paceline.core.records import RoundStart

LARGEST_GAMMA: Final = 1024
"""The largest gamma that a policy may be told to consider: its figures, and each decision, grow with it."""

MaxGamma = Annotated[int, Field(ge=1, le=LARGEST_GAMMA, description="The largest gamma considered.")]
Width = Annotated[int, Field(ge=1, le=64, description="The most tokens of a tree that follow the same one.")]
DraftName = Annotated[str | None, Field(description="Name of the draft; the first one listed if left out.")]
OnlyDraft = Annotated[
    str | None, Field(description="Name of the only draft to use; all of them if left out.")
]
Prior = Annotated[
    tuple[Annotated[FiniteFloat, Field(gt=0)], Annotated[FiniteFloat, Field(gt=0)]],
    Field(description="Accepted and refused tokens assumed of a draft nothing is known about."),
]
LengthPolicy = Annotated[AnyPolicy, Field(description="Policy that plans gamma, one for each draft.")]


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
