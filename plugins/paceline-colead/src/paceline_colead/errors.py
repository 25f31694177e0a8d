"""Errors of this package; each says what it met and what is allowed."""

from __future__ import annotations

from paceline import PacelineError


class GrammarError(PacelineError):
    """A grammar file or a file of a domain is not usable; names file and line."""


class ProgramError(PacelineError):
    """A text is no program of the grammar, or a program cannot be executed.

    Attributes:
        at: The first token that is wrong, where it is one of a text.
        allowed: What could stand there; nothing where the program should have ended.
    """

    def __init__(self, message: str, at: int | None = None, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.at, self.allowed = at, allowed


class QueryError(PacelineError):
    """No program can be made of a query."""
