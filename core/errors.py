"""Everything paceline raises on purpose, and descriptions of foreign code for its messages.

PacelineError
├── ConfigError        the configuration is wrong: names file, line, path and remedy
├── PluginError        a plugin is broken, missing, or clashes with another
├── BackendError       a backend cannot do what was asked: names it and the way out
│   └── TargetError    a target raised something: names it; what it raised is the cause
├── ContractError      a policy, draft or target broke the contract of a round: names who
├── CapabilityError    the engine and the policy or request do not fit: found before the first token
├── TraceError         a trace cannot be read, or does not fit what is replayed
├── DeadlineError      a request took longer than it may
├── QueueFullError     too many requests wait already
└── ClosedError        a decoder was closed before a request was done
"""

from __future__ import annotations

import inspect
import reprlib
from traceback import walk_tb
from types import CodeType, FunctionType
from typing import TypeVar

T = TypeVar("T")

INTERRUPTS = (KeyboardInterrupt, GeneratorExit)
"""Exceptions that pass through foreign code: the user or the caller wants to stop. All others are its failure."""

_CORE = f"{__name__.rpartition('.')[0]}."
_ENTRIES = frozenset(
    {"plan", "observe", "keep_drafting", "build", "state_dict", "load_state_dict", "export", "absorb"}
    | {"open", "open_sampled", "draft", "verify", "advance", "score", "close"}
    | {"plan_batch", "draft_batch", "verify_batch"}
)
"""Methods by which paceline calls the code of others: what these call fails on behalf of their package."""

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 500


class PacelineError(Exception):
    """The base of every error that paceline raises on purpose.

    Attributes:
        delivered: What there was of a text when the error ended it: its tokens. They are the target's own.
    """

    delivered: tuple[int, ...] = ()


class ConfigError(PacelineError, ValueError):
    """A configuration is wrong; the message names file, line, path, and what is allowed."""


class PluginError(PacelineError):
    """A plugin is broken, missing, or provides a name that another provides too."""


class BackendError(PacelineError):
    """A backend cannot do what was asked; the message says what would work instead."""


class TargetError(BackendError):
    """A target, its session or its tokenizer raised something, which is `__cause__`; the message names it."""


class ContractError(PacelineError):
    """A policy, draft or target broke the contract of a round; `culprit` names it."""

    def __init__(self, culprit: str, message: str) -> None:
        super().__init__(f"{culprit}: {message}")
        self.culprit = culprit


class CapabilityError(PacelineError):
    """The policy, or a request, needs something that this engine cannot do."""


class TraceError(PacelineError, ValueError):
    """A trace cannot be read, or does not fit the run it is replayed against."""


class DeadlineError(PacelineError, TimeoutError):
    """A request took longer than its deadline."""


class QueueFullError(PacelineError):
    """Too many requests wait already; take rounds, and submit again."""


class ClosedError(PacelineError, RuntimeError):
    """A decoder was closed before a request began or was done."""


def answered(answer: T | BaseException) -> T:
    """Return an answer that was given for one of several; raise what stands in its place."""
    if isinstance(answer, BaseException):
        raise answer
    return answer


def describe(culprit: object) -> str:
    """Return the name by which errors call a policy, draft or target: its class and module, or those of a function."""
    kind = culprit if isinstance(culprit, type | FunctionType) else type(culprit)
    return f"{kind.__qualname__} ({kind.__module__})"


def defined_at(function: object) -> str | None:
    """Return file and line where a function or method begins; None where there is none, as for one written in C."""
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    return f"{code.co_filename}:{code.co_firstlineno}" if isinstance(code, CodeType) else None


def raised_at(error: BaseException) -> str | None:
    """Return file and line in the code of a policy, draft or target from which an error came; None if not from there.

    Of policies that hold others it is the innermost, and never a library that it calls.
    """
    package = place = None
    for frame, line in walk_tb(error.__traceback__):
        home = str(frame.f_globals.get("__name__"))
        if home.startswith(_CORE):
            continue
        own = home.partition(".")[0]
        if frame.f_code.co_name in _ENTRIES:
            package = own
        if own == package:
            place = f"{frame.f_code.co_filename}:{line}"
    return place


def error_text(error: BaseException) -> str:
    """Return what an error says; never raises, though its `str` may."""
    try:
        return str(error)
    except INTERRUPTS:
        raise
    except BaseException:  # noqa: BLE001 - a message must come about, whatever the error is
        return short_repr(error)


def short_repr(value: object) -> str:
    """Return a value or an error as it looks in Python, cut short; never raises, though its `repr` may."""
    try:
        if isinstance(value, BaseException):
            return f"{type(value).__name__}({', '.join(map(short_repr, value.args))})"
        return _short.repr(value)
    except INTERRUPTS:
        raise
    except BaseException as error:  # noqa: BLE001 - a message must come about, whatever the value is
        return f"<a {type(value).__name__} whose repr raises {type(error).__name__}>"
