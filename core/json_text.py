"""JSON from files, with everything refused that would only fail later: numbers out of all bounds, text that is none."""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any, Final, Never

from paceline.core.errors import short_repr

LARGEST_INT: Final = 2**63 - 1
LARGEST_FLOAT: Final = 1e30
"""No count, time or weight comes near; products and powers of numbers within these bounds stay finite."""

_SUSPECT = re.compile(rb"(?:^|[\[,:\s-])(?:[0-9]{18}|[0-9.]+[eE]\+?[0-9]{2})")
"""Stands in every text with a number out of bounds, and in few others: only these pay for a look at each number."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(text: bytes) -> Any:
    """Return what a JSON text in UTF-8 stands for.

    Raises:
        ValueError: It is no JSON, nested too deeply, or holds NaN, an infinity, a number beyond `LARGEST_INT` or
            `LARGEST_FLOAT`, or half of a surrogate pair.
    """
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start})") from None
    look = _SUSPECT.search(text) is not None
    whole, real = (_whole, _real) if look else (None, None)
    try:
        values = json.loads(decoded, parse_constant=_no_constant, parse_int=whole, parse_float=real)
        written = not _SURROGATE.search(text) or is_text(json.dumps(values, ensure_ascii=False))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not written:
        raise ValueError("a text holds half of a surrogate pair, which no UTF-8 can hold")
    return values


def bounded(number: float) -> bool:
    """Tell whether a number is finite (no comparison holds for NaN) and within the bounds of what files may hold."""
    return abs(number) <= (LARGEST_INT if isinstance(number, int) else LARGEST_FLOAT)


def not_json(value: Any) -> str | None:
    """Return a part of a value that JSON cannot hold, and where it stands, as "nan at 'rates.0'"; None for none.

    Numbers must be finite, and the keys of mappings text.
    """
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        where, part = waiting.pop()
        match part:
            case dict():
                if wrong := [key for key in part if not isinstance(key, str)]:
                    return _at(where, f"the key {short_repr(wrong[0])}")
                waiting += [(f"{where}.{key}", inner) for key, inner in reversed(part.items())]
            case list() | tuple():
                waiting += [(f"{where}.{i}", inner) for i, inner in reversed([*enumerate(part)])]
            case None | bool() | str() | int():
                pass
            case float() if isfinite(part):
                pass
            case _:
                return _at(where, short_repr(part))
    return None


def _at(where: str, what: str) -> str:
    return f"{what} at {where[1:]!r}" if where else what


def is_text(text: str) -> bool:
    """Tell whether a string can be written as UTF-8; one with half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole(digits: str) -> int:
    number = int(digits) if len(digits) < 25 else None
    if number is None or not bounded(number):
        raise ValueError(f"the number {digits:.24} is out of bounds; whole numbers go up to {LARGEST_INT}")
    return number


def _real(digits: str) -> float:
    number = float(digits)
    if not bounded(number):
        raise ValueError(f"the number {digits:.24} is out of bounds; numbers go up to {LARGEST_FLOAT:g}")
    return number


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is no number")
