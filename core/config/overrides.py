"""Dotted keys that replace parts of a run, such as `generation.max_new_tokens=64` on a command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from paceline.core.config.bounds import DEEPEST, TOO_DEEP
from paceline.core.config.errors import show
from paceline.core.config.yaml import parse_yaml
from paceline.core.errors import ConfigError

PLACE = re.compile("[0-9]{1,6}")
"""A part of a key that leads into a list."""

SHOWN = 120
"""Letters of an override that messages repeat."""


def parse_override(text: str) -> tuple[str, object]:
    """Split `key=value`; the value is read as YAML, so `64` is a number and `{name: static}` a mapping.

    Raises:
        ConfigError: There is no `=`, no key, or the value is not YAML that a run file may hold.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"override {text!r}: should be key=value, such as generation.max_new_tokens=64")
    try:
        return key.strip(), parse_yaml(value, "value")
    except ConfigError as error:
        raise ConfigError(
            f"override {_short(text)!r}: the value is not YAML that can be used; quote it twice, such as "
            f"key='\"a: b\"' ({error})"
        ) from None


def assignment(key: str, value: object) -> str:
    """Return an override as it is written on a command line."""
    return _short(f"{key}={value if isinstance(value, str) else show(value)}")


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def apply_overrides(
    data: Mapping[str, Any],
    overrides: Mapping[str, object],
    *,
    fill: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> dict[str, Any]:
    """Return a copy of `data` with values set at dotted keys; shorter keys are set first.

    A bare name on the way becomes the mapping it stands for. An override that goes into a part that is not in
    `data` starts from what `fill` puts there.

    Raises:
        ConfigError: A key leads through something that is neither a mapping nor a list.
    """
    result: dict[str, Any] = dict(data)
    for key in overrides:
        if key.count(".") > DEEPEST:
            raise ConfigError(f"override {assignment(key, overrides[key])}: {TOO_DEEP}")
    for key in sorted(overrides, key=lambda key: key.count(".")):
        first, *rest = key.split(".")
        if not rest:
            result[first] = overrides[key]
            continue
        below = result.get(first)
        if below is None:
            below = fill(result).get(first, {})
        result[first] = _replaced(
            key, rest, below, overrides[key], word="name" if first == "policy" else "backend"
        )
    return result


def _replaced(key: str, path: list[str], node: object, value: object, *, word: str) -> object:
    """Return `node` with `value` at `path`; nothing is changed in place. `word` is the key of a bare name."""
    if not path:
        return value
    part, *rest = path
    if node is None:
        node = {}
    if isinstance(node, str):
        node = {word: node}
    if isinstance(node, Mapping):
        return {**node, part: _replaced(key, rest, node.get(part), value, word=word)}
    if isinstance(node, list) and PLACE.fullmatch(part) and int(part) < len(node):
        below = _replaced(key, rest, node[int(part)], value, word=word)
        return [*node[: int(part)], below, *node[int(part) + 1 :]]
    raise ConfigError(
        f"override {assignment(key, value)}: {part!r} leads into {show(node)}; no such key can be set"
    )
