"""Checks of a saved state, made before any of it is taken over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline_banditspec.arms import Arms

VERSION = 1

MOST = 10**12
"""No count of rounds or tokens, and no time in seconds, gets there."""


def header(policy: str, arms: Arms) -> dict[str, Any]:
    """Return what identifies a state: figures of other arms or of another L mean something else."""
    return {"policy": policy, "version": VERSION, "arms": arms.kind, "length": arms.length}


def check_header(state: Mapping[str, Any], policy: str, arms: Arms) -> None:
    """Check that a state was written by this policy with these arms.

    Raises:
        ValueError: It was not.
    """
    for key, expected in header(policy, arms).items():
        value = state.get(key)
        if type(value) is not type(expected) or value != expected:
            raise ValueError(
                f"not a state of this policy and its options: {key} is {value!r}, expected {expected!r}; "
                "delete the saved state to start afresh"
            )


def arms_of(value: object, what: str, arms: Arms) -> dict[str, Any]:
    """Return a mapping whose keys are arms.

    Raises:
        ValueError: The value is anything else.
    """
    if not isinstance(value, dict) or not all(isinstance(arm, str) and arms.knows(arm) for arm in value):
        raise ValueError(
            f"the saved state is damaged or of other options: {what} is {value!r}, no mapping of arms"
        )
    return value


def number(value: object, what: str) -> float:
    """Return a number from 0 to `MOST`.

    Raises:
        ValueError: The value is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST:
        raise ValueError(f"the saved state is damaged: {what} is {value!r}, not a number from 0 to {MOST}")
    return value


def whole(value: object, what: str) -> int:
    """Return a whole number from 0 to `MOST`.

    Raises:
        ValueError: The value is anything else.
    """
    if type(value) is not int or not 0 <= value <= MOST:
        raise ValueError(
            f"the saved state is damaged: {what} is {value!r}, not a whole number from 0 to {MOST}"
        )
    return value
