"""From a file, a mapping or nothing, with dotted overrides, to a validated run or a decoder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from paceline.core.config import errors
from paceline.core.config.errors import MAX_DEPTH, TOO_DEEP, check_values, show
from paceline.core.config.resolve import CONTEXT
from paceline.core.config.run import RunConfig, with_defaults
from paceline.core.config.yaml import Document, parse_yaml, read_yaml
from paceline.core.errors import ConfigError, PacelineError
from paceline.core.files import check_output
from paceline.core.plugins.catalogue import Catalogue

if TYPE_CHECKING:
    from paceline.core.config.errors import Locate
    from paceline.core.decoder import SpeculativeDecoder

LIST_INDEX = re.compile("[0-9]{1,6}")
"""A part of a key that leads into a list."""

MAX_SHOWN = 120
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
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


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
        if key.count(".") > MAX_DEPTH:
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
    if isinstance(node, list) and LIST_INDEX.fullmatch(part) and int(part) < len(node):
        below = _replaced(key, rest, node[int(part)], value, word=word)
        return [*node[: int(part)], below, *node[int(part) + 1 :]]
    raise ConfigError(
        f"override {assignment(key, value)}: {part!r} leads into {show(node)}; no such key can be set"
    )


def check_outputs(config: RunConfig, locate: Locate, *, inputs: Sequence[Path | str]) -> None:
    """Refuse a trace or state file that cannot be used, or that would be written over something else.

    Args:
        config: The run.
        locate: Where each key comes from.
        inputs: Files that the run is read from.

    Raises:
        ConfigError: Lists every problem, with where it comes from.
    """
    from paceline.core.state.store import StateStore  # noqa: PLC0415 - reading a run needs no database
    from paceline.core.trace import check_replaceable  # noqa: PLC0415 - nor a trace

    problems = []
    for key, path in (("state", config.state), ("trace", config.trace)):
        if path is None:
            continue
        try:
            check_output(path, inputs=inputs)
            if key == "trace":
                check_replaceable(path)
            else:
                StateStore(path).check()
        except PacelineError as error:
            problems.append(f"{locate((key,)).origin}{key}: {error}")
    if config.state is not None and config.trace is not None and _same(config.state, config.trace):
        problems.append(f"{locate(('trace',)).origin}trace: `state` names this file too; give another path")
    if problems:
        raise ConfigError("\n".join(problems))


def _same(path: Path, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


def load_config(
    source: Path | str | Mapping[str, Any] | None = None,
    *,
    catalogue: Catalogue | None = None,
    overrides: Mapping[str, object] | None = None,
) -> RunConfig:
    """Read and check a run; what is missing comes from the defaults.

    Args:
        source: The path of a YAML file, a mapping of the same form, or None for the defaults.
        catalogue: What policies and backends there are; by default, all that are installed.
        overrides: Values to set at dotted keys, such as {"generation.max_new_tokens": 64}.

    Raises:
        ConfigError: Something is wrong; the message lists every problem, with file and line where there is one.
    """
    document = read_yaml(Path(source)) if isinstance(source, str | Path) else None
    given = document.data if document is not None else source if source is not None else {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"a run is a path, a mapping or None; found {type(given).__name__}")
    changes = overrides or {}
    data = apply_overrides(given, changes, fill=with_defaults)
    locate = _locator(document, changes)
    context = {CONTEXT: Catalogue.load() if catalogue is None else catalogue}
    try:
        check_values(data, locate)
        config = RunConfig.model_validate(data, context=context)
    except ValidationError as error:
        raise errors.explain(error, data, locate) from None
    except RecursionError:
        raise ConfigError("the run is nested too deeply, or holds itself") from None
    check_outputs(config, locate, inputs=[] if document is None else [document.name])
    return config


def _locator(document: Document | None, overrides: Mapping[str, object]) -> errors.Locate:
    """Return what tells the origin of a path: an override, a line of the file, or neither."""

    def locate(path: errors.Path) -> errors.Place:
        words = [str(part) for part in path]
        keys = {key: key.split(".") for key in sorted(overrides, key=len, reverse=True)}
        for key, parts in keys.items():
            if words[: len(parts)] == parts:
                return errors.Place(f"override {assignment(key, overrides[key])}: ")
        line, raw = document.locate(path) if document is not None else (None, None)
        if document is not None and line is not None:
            return errors.Place(f"{document.name}:{line}: ", line, raw)
        for key, parts in keys.items():
            if parts[: len(words)] == words:
                return errors.Place(f"override {assignment(key, overrides[key])}: ")
        return errors.Place("" if document is None else f"{document.name}: ")

    return locate


def load(source: Path | str | Mapping[str, Any] | None = None, **overrides: object) -> SpeculativeDecoder:
    """Read a run, load its models and return a decoder that is ready to generate.

    Args:
        source: The path of a YAML file, a mapping of the same form, or None for the defaults: the embedded pair and
            the `auto` policy.
        **overrides: Parts that replace those of `source`, such as `policy="static"` or `trace="today.jsonl"`.

    Raises:
        ConfigError: The run is not valid; the message lists every problem.
        BackendError: A model cannot be loaded, or a draft does not fit the target.
        CapabilityError: The policy needs what the engine cannot do.
    """
    return load_config(source, overrides=overrides).build()
