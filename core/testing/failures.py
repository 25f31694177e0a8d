"""Failures as the kits tell them: a sentence, and the place in the code of whoever it is about."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from paceline.core.errors import ContractError, defined_at, describe, raised_at

if TYPE_CHECKING:
    from collections.abc import Iterator


def require(holds: bool, sentence: str) -> None:
    """Raise AssertionError with a sentence unless something holds; unlike `assert`, also under `python -O`."""
    if not holds:
        raise AssertionError(sentence)


@contextmanager
def blamed(culprit: object, method: str) -> Iterator[None]:
    """Note on whatever is raised within whose it is: the line that raised it, or else where `method` begins.

    A breach that a guard of the loop has seen becomes an AssertionError with the same sentence.
    """
    try:
        yield
    except Exception as error:
        failure = AssertionError(str(error)) if isinstance(error, ContractError) else error
        place = raised_at(error) or defined_at(getattr(type(culprit), method, None))
        failure.add_note(f"in {describe(culprit)}{'' if place is None else f' [{place}]'}")
        if failure is error:
            raise
        raise failure from error
