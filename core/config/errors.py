"""Turning pydantic's errors into one `ConfigError` that says where, what was found, and what is allowed."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from paceline.core.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

Path = tuple[int | str, ...]


class Place(NamedTuple):
    """Where a path comes from.

    Attributes:
        origin: What a message names first, such as "run.yaml:4: "; may be empty.
        line: The line in the file, if there is one; problems are listed in this order.
        raw: The text of the value when it is a YAML scalar without quotes.
    """

    origin: str = ""
    line: int | None = None
    raw: str | None = None


Locate = Callable[[Path], Place]

_OWN = frozenset(
    {
        "unknown_key",
        "unknown_name",
        "no_catalogue",
        "role",
        "block_name",
        "draft_name",
        "value_error",
        "assertion_error",
    }
)
"""Errors whose message says what was found by itself."""

_WANTS_TEXT = frozenset({"string_type", "path_type", "literal_error", "block_type"})
_AMBIGUOUS = frozenset({"yes", "no", "on", "off", "y", "n", "true", "false"})


def explain(error: ValidationError, data: Mapping[str, Any], locate: Locate) -> ConfigError:
    """Return the error that lists every problem, one a line.

    Args:
        error: What pydantic found.
        data: What was validated, as the user gave it.
        locate: Where each path comes from.
    """
    lines = []
    for row in error.errors(include_url=False):
        path, given = _visible(row, data)
        place = locate(path)
        note = "" if given else " (the default)"
        text = f"{place.origin}{dotted(path) or 'the run'}{note}: {_message(row, place.raw)}"
        lines.append((place.line or 0, text))
    lines.sort(key=lambda line: line[0])
    return ConfigError("\n".join(dict.fromkeys(text for _, text in lines)))


def dotted(path: Path) -> str:
    """Return a path as it is written on a command line."""
    return ".".join(str(part) for part in path)


def show(value: object, raw: str | None = None) -> str:
    """Return a found value as YAML would show it, cut short; `raw` is its text in the file."""
    if raw:
        read = (
            ""
            if raw == str(value) or value is None or isinstance(value, bool | str)
            else f" (read as {value})"
        )
        return f"{raw}{read}"
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return reprlib.repr(value)


def _visible(row: ErrorDetails, data: Mapping[str, Any]) -> tuple[Path, bool]:
    """Return the path as far as it stands in the data, and whether the user gave it.

    Pydantic adds parts of its own to a path, such as the member of a union; only a missing key is kept unseen.
    """
    node: object = data
    path: list[int | str] = []
    for part in row["loc"]:
        below = _child(node, part)
        if below is _ABSENT:
            if not path:
                return (part,), row["type"] == "missing"
            continue
        node = below
        path.append(part)
    if row["type"] == "missing" and row["loc"][-1:] != tuple(path[-1:]):
        path.append(row["loc"][-1])
    return tuple(path), True


_ABSENT = object()


def _child(node: object, part: int | str) -> object:
    if isinstance(node, Mapping):
        return node.get(part, _ABSENT)
    if (
        isinstance(node, Sequence)
        and not isinstance(node, str)
        and isinstance(part, int)
        and part < len(node)
    ):
        return node[part]
    return _ABSENT


def _message(row: ErrorDetails, raw: str | None) -> str:
    kind, message, found = row["type"], row["msg"], row["input"]
    if kind == "missing":
        return "required, but missing; add it"
    if kind == "invalid_key":
        return f"found the key {show(found)}; keys are words, so put it in quotes"
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if kind in _OWN:
        return message
    if kind in {"model_type", "dict_type", "model_attributes_type", "mapping_type"}:
        message = "should be a mapping"
    message = message.replace("Input should be", "should be").replace("Input is", "is")
    return f"found {show(found, raw)}; {message}{_quotes(kind, found, raw)}"


def _quotes(kind: str, found: object, raw: str | None) -> str:
    """Return the hint to quote a plain YAML scalar that was meant as text."""
    if kind not in _WANTS_TEXT or raw is None or isinstance(found, str) or found is None:
        return ""
    if isinstance(found, bool):
        return f"; YAML reads {raw} as a boolean, so put it in quotes" if raw.lower() in _AMBIGUOUS else ""
    return f"; to make it text, put it in quotes: '{raw}'"
