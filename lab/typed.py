"""Values of JSON lines that must be of a type: a line may have a checksum that fits and still say what nobody wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LARGEST_TOKEN = 2**31 - 1


def check_types(values: Mapping[str, Any], **kinds: type) -> None:
    """Check values by name: texts, truth values, and numbers (`int`: whole ones) of 0 and more.

    Raises:
        KeyError: One is missing.
        ValueError: One is something else.
    """
    for name, kind in kinds.items():
        value = values[name]
        fits = type(value) is kind or (kind is float and type(value) is int)
        if not fits or (kind in {int, float} and value < 0):
            raise ValueError(f"{name} is {value!r:.60}")


def check_counts(values: Iterable[Any], what: str, *, most: int = 2**62) -> None:
    """Check that all values are whole numbers from 0 to `most`.

    Raises:
        ValueError: One is not.
    """
    if not all(type(value) is int and 0 <= value <= most for value in values):
        raise ValueError(f"{what} holds something else than whole numbers from 0 to {most}")
