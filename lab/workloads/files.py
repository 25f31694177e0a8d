"""Prompts from files: JSON lines and Parquet, with the keys of plain files, of Spec-Bench and of SPEED-Bench.

Spec-Bench (https://github.com/hemingkx/Spec-Bench, `data/spec_bench/question.jsonl`) and SPEED-Bench
(https://huggingface.co/datasets/nvidia/SPEED-Bench, Parquet) give an item `question_id`, `category` and `turns`, a
list of what a user says in turn. The first turn is the prompt: the others need the answers in between.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from paceline.core.errors import ConfigError
from paceline.lab.prompts import Text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ("id", "name", "question_id")
KINDS = ("kind", "category")
TEXTS = ("text", "prompt")
ABSENT = "FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE"
"""So begins a turn of SPEED-Bench that is not part of what its page offers for download."""

EXAMPLE = '{"text": "Once upon a time"}'


def read(path: Path) -> list[Text]:
    """Read the prompts of a file; a name that ends in `.parquet` means Parquet, any other JSON lines.

    A prompt is an object with `text` or `prompt`, or `turns`, or `tokens`. Its name is under `id`, `name` or
    `question_id`, its kind under `kind` or `category`.

    Raises:
        ConfigError: The file is missing, empty, or something in it is not like that; names the line or row.
    """
    rows = _parquet(path) if path.suffix == ".parquet" else _lines(path)
    found: dict[str, Text] = {}
    for number, where, values in rows:
        one = _text(values, number, where)
        if one.name in found:
            raise ConfigError(f"{where}: the id {one.name!r} has been used before; ids must differ")
        found[one.name] = one
    if not found:
        raise ConfigError(f"{path}: no prompts; write one object a line, such as {EXAMPLE}")
    return list(found.values())


def _lines(path: Path) -> Iterator[tuple[int, str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{path}:{number}"
            try:
                yield number, where, json.loads(line)
            except ValueError as error:
                raise ConfigError(
                    f"{where}: not JSON: {error}; write one object a line, such as {EXAMPLE}"
                ) from None


def _parquet(path: Path) -> Iterator[tuple[int, str, Any]]:
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 - wanted by few
    except ImportError:
        raise ConfigError(
            f"{path}: Parquet needs pyarrow; install paceline[parquet], or convert it to JSON lines"
        ) from None
    try:
        rows = parquet.read_table(path).to_pylist()
    except (OSError, ArrowException) as error:
        raise ConfigError(f"{path}: cannot be read as Parquet: {error}") from error
    for number, values in enumerate(rows, start=1):
        yield number, f"{path}, row {number}", {key: it for key, it in values.items() if it is not None}


def _text(values: Any, number: int, where: str) -> Text:
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"{where}: found {type(values).__name__}; a prompt is an object with the key 'text'"
        )
    name = str(next((values[key] for key in NAMES if key in values), f"line-{number}"))
    kind = str(next((values[key] for key in KINDS if key in values), "all"))
    tokens = values.get("tokens")
    if isinstance(tokens, list) and tokens and all(type(token) is int for token in tokens):
        return Text(name, kind, tokens=tuple(tokens))
    text = next((values[key] for key in TEXTS if key in values), None)
    if text is None:
        text = _first(values.get("turns"))
    if not isinstance(text, str) or not text:
        raise ConfigError(
            f"{where}: needs a text that is not empty under 'text' (or a list of texts under 'turns', or of integers "
            "under 'tokens')"
        )
    if text.startswith(ABSENT):
        raise ConfigError(
            f"{where}: the prompt of {name!r} is not in this file, only a note where to get it; complete the file with "
            "prepare_data.py of SPEED-Bench (examples/specdec_bench in https://github.com/NVIDIA/Model-Optimizer)"
        )
    return Text(name, kind, text)


def _first(turns: Any) -> Any:
    return turns[0] if isinstance(turns, list) and turns else None
