"""Checks that a saved state can be trusted before any of it is taken over."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST = 10**12
"""No count of rounds or tokens, and no time in seconds, gets there; the arithmetic of policies stays exact below."""


def check_header(state: Mapping[str, Any], policy: str, version: int) -> None:
    """Check that a state was written by this policy in this version.

    Raises:
        ValueError: It was not, or it names neither.
    """
    found = (state.get("policy"), state.get("version"))
    if found != (policy, version) or isinstance(found[1], bool):
        raise ValueError(
            f"expected the state of policy {policy!r}, version {version}, but found policy {found[0]!r}, "
            f"version {found[1]!r}; delete the saved state to start afresh"
        )


def check_count(value: object, what: str, *, whole: bool = False) -> float:
    """Return a number from 0 to `MOST`.

    Raises:
        ValueError: The value is anything else.
    """
    kinds = int if whole else (int, float)
    # No comparison holds for NaN.
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value <= MOST:
        kind = "whole number" if whole else "number"
        raise ValueError(f"the saved state is damaged: {what} is {value!r}, not a {kind} from 0 to {MOST}")
    return value


def check_list(value: object, what: str, *, length: int | None = None) -> list[Any]:
    """Return a list, of a given length if one is named.

    Raises:
        ValueError: The value is anything else.
    """
    if not isinstance(value, list) or (length is not None and len(value) != length):
        size = "" if length is None else f" of length {length}"
        raise ValueError(f"the saved state is damaged or of other options: {what} is not a list{size}")
    return value


def save_random(random: Random) -> list[Any]:
    """Return the state of a generator as JSON-able values."""
    kind, words, spare = random.getstate()
    return [kind, list(words), spare]


def read_random(saved: object) -> Random:
    """Return a generator that goes on where `save_random` found it.

    Raises:
        ValueError: The state is damaged.
    """
    kind, words, spare = check_list(saved, "random", length=3)
    found = Random()
    try:
        found.setstate((kind, tuple(check_list(words, "the words of random")), spare))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"the saved state is damaged: random is no generator state ({error})") from error
    if spare is not None and not (isinstance(spare, float) and math.isfinite(spare)):
        raise ValueError(f"the saved state is damaged: random keeps {spare!r}, no number drawn beforehand")
    return found
