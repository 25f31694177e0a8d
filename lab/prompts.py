"""Prompts as text: those shipped with the embedded pair, and those of a JSON-lines file.

Only the data file of the embedded pair is read here, by its place in the package; its code is not needed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from paceline.core.errors import ConfigError, PacelineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

EMBEDDED = "embedded"
PACKAGE, FILE = "paceline.backends.embedded", "prompts.json"
TEXT_KEYS = ("text", "prompt")


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt that has not been turned into tokens; `tokens` is set where the file gives those instead."""

    name: str
    kind: str
    text: str = ""
    tokens: tuple[int, ...] | None = None


def embedded() -> list[Text]:
    """Return the prompts shipped with the embedded pair.

    Raises:
        PacelineError: They are not installed.
    """
    try:
        listed = json.loads((resources.files(PACKAGE) / FILE).read_text(encoding="utf-8"))
    except (ModuleNotFoundError, OSError) as error:
        raise PacelineError(
            "the embedded prompts are not installed; give a prompt or a file of prompts"
        ) from error
    return [Text(one["id"], one["kind"], one["text"]) for one in listed]


def read(path: Path) -> list[Text]:
    """Read a JSON-lines file: objects with `text` (or `prompt`, or `tokens`), and where wanted `id` and `kind`.

    Raises:
        ConfigError: The file is missing, empty, or a line is not like that; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    found: dict[str, Text] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        one = _line(line, number, f"{path}:{number}")
        if one.name in found:
            raise ConfigError(f"{path}:{number}: the id {one.name!r} has been used before; ids must differ")
        found[one.name] = one
    if not found:
        raise ConfigError(
            f'{path}: no prompts; write one object a line, such as {{"text": "Once upon a time"}}'
        )
    return list(found.values())


def _line(line: str, number: int, where: str) -> Text:
    try:
        values: Any = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{where}: not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(
            f"{where}: found {type(values).__name__}; a prompt is an object with the key 'text'"
        )
    name, kind = str(values.get("id", f"line-{number}")), str(values.get("kind", "all"))
    tokens = values.get("tokens")
    if isinstance(tokens, list) and tokens and all(type(token) is int for token in tokens):
        return Text(name, kind, tokens=tuple(tokens))
    text = next((values[key] for key in TEXT_KEYS if key in values), None)
    if not isinstance(text, str) or not text:
        raise ConfigError(
            f"{where}: needs a text that is not empty under 'text' (or a list of integers under 'tokens')"
        )
    return Text(name, kind, text)


def choose(texts: Sequence[Text], *, kinds: Sequence[str] = (), limit: int | None = None) -> list[Text]:
    """Return the prompts of some kinds; with a limit, the kinds take turns so that few still cover all.

    Raises:
        ConfigError: There is no such kind.
    """
    known = list(dict.fromkeys(one.kind for one in texts))
    unknown = [kind for kind in kinds if kind not in known]
    if unknown:
        raise ConfigError(f"no prompts of kind {unknown[0]!r}; there are: {', '.join(known)}")
    wanted = [one for one in texts if not kinds or one.kind in kinds]
    return wanted if limit is None else list(_in_turns(wanted))[:limit]


def _in_turns(texts: Iterable[Text]) -> Iterator[Text]:
    kinds: dict[str, list[Text]] = {}
    for one in texts:
        kinds.setdefault(one.kind, []).append(one)
    while any(kinds.values()):
        for some in kinds.values():
            if some:
                yield some.pop(0)
