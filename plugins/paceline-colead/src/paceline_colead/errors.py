"""Errors of this package; each says what it met and what is allowed."""

from __future__ import annotations

from paceline import PacelineError


class GrammarError(PacelineError):
    """A grammar file or a file of a domain is not usable; names file and line."""


class ProgramError(PacelineError):
    """A text is no program of the grammar, or a program cannot be executed."""


class QueryError(PacelineError):
    """No program can be made of a query."""
