"""How errors speak of foreign code: who it was, and what it raised or returned, whatever its `repr` does."""

from __future__ import annotations

import reprlib

INTERRUPTS = (KeyboardInterrupt, GeneratorExit)
"""What foreign code may let through: the user or the caller wants to stop. All else that it raises is its failure."""

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 500


def blame(culprit: object) -> str:
    """Return the name by which errors call a policy, draft or target: its class and module."""
    kind = culprit if isinstance(culprit, type) else type(culprit)
    return f"{kind.__qualname__} ({kind.__module__})"


def words(error: BaseException) -> str:
    """Return what an error says; never raises, though its `str` may."""
    try:
        return str(error)
    except INTERRUPTS:
        raise
    except BaseException:  # noqa: BLE001 - a message must come about, whatever the error is
        return shown(error)


def shown(value: object) -> str:
    """Return a value or an error as it looks in Python, cut short; never raises, though its `repr` may."""
    try:
        if isinstance(value, BaseException):
            return f"{type(value).__name__}({', '.join(map(shown, value.args))})"
        return _short.repr(value)
    except INTERRUPTS:
        raise
    except BaseException as error:  # noqa: BLE001 - a message must come about, whatever the value is
        return f"<a {type(value).__name__} whose repr raises {type(error).__name__}>"
