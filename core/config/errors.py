"""Problems of a configuration, pydantic's and ours, as one `ConfigError` that says where, what, and what is allowed."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from paceline.core.errors import ConfigError
from paceline.core.files import printable
from paceline.core.json_text import LARGEST_FLOAT, LARGEST_INT, bounded, is_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

Path = tuple[int | str, ...]

_OWN = frozenset(
    {
        "unknown_key",
        "unknown_name",
        "role",
        "block_name",
        "draft_name",
        "value_error",
        "assertion_error",
    }
)
"""Errors whose message says what was found by itself."""

_EXPECTED = {
    "string_type": "should be text",
    "path_type": "should be a path",
    "bool_parsing": "should be true or false",
    "bool_type": "should be true or false",
    "int_parsing": "should be a whole number",
    "int_type": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_parsing": "should be a number",
    "float_type": "should be a number",
    "list_type": "should be a list",
    "tuple_type": "should be a list",
    **dict.fromkeys(
        ["model_type", "dict_type", "mapping_type", "model_attributes_type"], "should be a mapping"
    ),
}
"""Allowed values, for errors whose own words are about Python or say more than helps."""

_EXPECTS_TEXT = frozenset({"string_type", "name_type", "path_type", "literal_error", "block_type"})
_AMBIGUOUS = frozenset({"yes", "no", "on", "off", "y", "n", "true", "false"})
_ABSENT = object()

MAX_DEPTH = 64
"""Levels of a run: policies that hold policies take two each."""

TOO_DEEP = f"nested too deeply, or holds itself; a run has at most {MAX_DEPTH} levels"


class Place(NamedTuple):
    """The origin of a path.

    Attributes:
        origin: What a message names first, such as "run.yaml:4: "; may be empty.
        line: The line in the file, if there is one; problems are listed in this order.
        raw: The text of the value when it is a YAML scalar without quotes.
    """

    origin: str = ""
    line: int | None = None
    raw: str | None = None


Locate = Callable[[Path], Place]


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
    kind, message, value = row["type"], row["msg"], row["input"]
    if kind == "missing":
        return f"required, but missing; {_remedy(value, row['loc'])}"
    if kind == "invalid_key" or (kind == "string_type" and row["loc"][-1] == "[key]"):
        return f"found the key {show(value)}; keys are words, so put it in quotes"
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if kind in _OWN:
        return message
    allowed = _EXPECTED.get(kind, message.replace("Input should be", "should be").replace("Input is", "is"))
    return f"found {show(value, raw)}; {allowed}{_quotes(kind, value, raw)}"


def _remedy(value: object, loc: Path) -> str:
    """Return how to add a missing key; a bare name must become a mapping first."""
    if isinstance(value, Mapping) and len(value) == 1 and (key := next(iter(value))) in {"name", "backend"}:
        return f"write {{{key}: {value[key]}, {loc[-1]}: ...}}"
    return "add it"


def _quotes(kind: str, value: object, raw: str | None) -> str:
    """Return the hint to quote a plain YAML scalar that was meant as text."""
    if kind not in _EXPECTS_TEXT or raw is None or isinstance(value, str) or value is None:
        return ""
    if kind == "block_type" and not isinstance(value, bool):
        return ""
    if isinstance(value, bool):
        return f"; YAML reads {raw} as a boolean, so put it in quotes" if raw.lower() in _AMBIGUOUS else ""
    return f"; to make it text, put it in quotes: '{raw}'"


def problem(kind: str, message: str, value: object, *path: str) -> ValidationError:
    """Return a validation error with one problem at `path` below the place where it is raised."""
    return ValidationError.from_exception_data("config", [_details(kind, message, value, path)])


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest known word, or "" when none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def suggest_keys(error: ValidationError, model: type[BaseModel]) -> ValidationError:
    """Return the error with unknown keys of `model` itself reworded: the nearest key, or all that are known."""
    details = error.errors(include_url=False)
    if not any(row["type"] == "extra_forbidden" and len(row["loc"]) == 1 for row in details):
        return error
    known = [field.alias or name for name, field in model.model_fields.items()]
    rows = []
    for row in details:
        kind, message = row["type"], row["msg"]
        if kind == "extra_forbidden" and len(row["loc"]) == 1:
            near = nearest(str(row["loc"][0]), known)
            kind, message = "unknown_key", f"unknown key{near or '; allowed: ' + ', '.join(known)}"
        rows.append(_details(kind, message, row["input"], row["loc"]))
    return ValidationError.from_exception_data(error.title, rows)


def _details(kind: str, message: str, value: object, path: tuple[int | str, ...]) -> InitErrorDetails:
    # Without a context pydantic leaves braces in the message alone.
    custom = PydanticCustomError(kind, message)
    return InitErrorDetails(type=custom, loc=path, input=value)


def check_values(data: Mapping[str, Any], locate: Locate) -> None:
    """Refuse numbers that are not finite or beyond what any option can mean, and text that cannot be written.

    Raises:
        ConfigError: Lists every problem, with where it comes from.
    """
    problems = []
    for path, message in _problems(data, ()):
        place = locate(path)
        problems.append((place.line or 0, f"{place.origin}{printable(dotted(path))}: {message}"))
    if problems:
        problems.sort(key=lambda line: line[0])
        raise ConfigError("\n".join(text for _, text in problems))


def _problems(node: object, path: Path) -> Iterator[tuple[Path, str]]:
    if len(path) > MAX_DEPTH:
        yield path[:1], TOO_DEEP
    elif isinstance(node, Mapping):
        for key, value in node.items():
            if isinstance(key, str) and not _writable(key):
                yield (*path, key), "this key is no text; remove NUL and halves of characters"
            else:
                yield from _problems(value, (*path, key))
    elif isinstance(node, list | tuple):
        for place, value in enumerate(node):
            yield from _problems(value, (*path, place))
    elif (message := _value_message(node)) is not None:
        yield path, message


def _value_message(value: object) -> str | None:
    if isinstance(value, int | float) and not bounded(value):
        most = LARGEST_INT if isinstance(value, int) else f"{LARGEST_FLOAT:g}"
        return f"found {show(value)}; should be a number from -{most} to {most}"
    if isinstance(value, str) and not _writable(value):
        return f"found {value!a:.60}, which is no text; remove NUL and halves of characters"
    return None


def _writable(text: str) -> bool:
    return "\0" not in text and is_text(text)
