"""What no value of a run may be, whatever it is for: a number beyond all bounds, text that is none, endless depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from paceline.core.config.errors import Path, dotted, show
from paceline.core.errors import ConfigError
from paceline.core.inputs import shown
from paceline.core.json_text import LARGEST_FLOAT, LARGEST_INT, bounded, is_text

if TYPE_CHECKING:
    from paceline.core.config.errors import Locate

DEEPEST = 64
"""Levels of a run: policies that hold policies take two each."""

TOO_DEEP = f"nested too deeply, or holds itself; a run has at most {DEEPEST} levels"


def check_values(data: Mapping[str, Any], locate: Locate) -> None:
    """Refuse numbers that are not finite or beyond what any option can mean, and text that cannot be written.

    Raises:
        ConfigError: Lists every problem, with where it comes from.
    """
    found = []
    for path, message in _problems(data, ()):
        place = locate(path)
        found.append((place.line or 0, f"{place.origin}{shown(dotted(path))}: {message}"))
    if found:
        found.sort(key=lambda line: line[0])
        raise ConfigError("\n".join(text for _, text in found))


def _problems(node: object, path: Path) -> Iterator[tuple[Path, str]]:
    if len(path) > DEEPEST:
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
    elif (message := _message(node)) is not None:
        yield path, message


def _message(value: object) -> str | None:
    if isinstance(value, int | float) and not bounded(value):
        most = LARGEST_INT if isinstance(value, int) else f"{LARGEST_FLOAT:g}"
        return f"found {show(value)}; should be a number from -{most} to {most}"
    if isinstance(value, str) and not _writable(value):
        return f"found {value!a:.60}, which is no text; remove NUL and halves of characters"
    return None


def _writable(text: str) -> bool:
    return "\0" not in text and is_text(text)
