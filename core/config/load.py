"""`load_config`: from a file, a mapping or nothing to a validated run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from paceline.core.config import errors
from paceline.core.config.bounds import check_values
from paceline.core.config.outputs import check_outputs
from paceline.core.config.overrides import apply_overrides, assignment
from paceline.core.config.resolve import CONTEXT
from paceline.core.config.run import RunConfig, with_defaults
from paceline.core.config.yaml import Document, read_yaml
from paceline.core.errors import ConfigError
from paceline.core.plugins.catalogue import Catalogue


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
