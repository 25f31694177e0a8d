"""Prompts from files: JSON lines and Parquet, with the keys of plain files, of Spec-Bench and of SPEED-Bench.

Spec-Bench (https://github.com/hemingkx/Spec-Bench, `data/spec_bench/question.jsonl`) and SPEED-Bench
(https://huggingface.co/datasets/nvidia/SPEED-Bench, Parquet) give an item `question_id`, `category` and `turns`, a
list of what a user says in turn. The first turn is the prompt: the others need the answers in between.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from paceline.core.environment import remedy
from paceline.core.errors import ConfigError
from paceline.core.files import MIB, input_lines, open_input, printable, size
from paceline.core.json_text import parse_json
from paceline.lab.workloads.prompts import Text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ("id", "name", "question_id")
KINDS = ("kind", "category")
TEXTS = ("text", "prompt")
CHAT = ("tools", "documents")
"""Keys that a chat template may read beside the messages; others stand under `chat_template_kwargs`."""

ABSENT = "FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE"
"""So begins a turn of SPEED-Bench that is not part of what its page offers for download."""

MOST, LINE = 512 * MIB, 16 * MIB
"""Bytes of a file of prompts, and of one prompt: no target reads as much."""

EXAMPLE = '{"text": "Once upon a time"}'


def read(path: Path) -> list[Text]:
    """Read the prompts of a file; a name that ends in `.parquet` means Parquet, any other JSON lines.

    A prompt is an object with `text` or `prompt`, `turns`, `messages` or `tokens`. Its name is under `id`, `name` or
    `question_id`, its kind under `kind` or `category`.

    Raises:
        ConfigError: The file is missing, empty, or something in it is not like that; names the line or row.
    """
    rows = _parquet(path) if path.suffix == ".parquet" else _lines(path)
    texts: dict[str, Text] = {}
    for number, where, values in rows:
        text = _text(values, number, where)
        if text.name in texts:
            raise ConfigError(f"{where}: the id {text.name!r} has been used before; ids must differ")
        texts[text.name] = text
    if not texts:
        raise ConfigError(f"{path}: no prompts; write one object a line, such as {EXAMPLE}")
    return list(texts.values())


def _lines(path: Path) -> Iterator[tuple[int, str, Any]]:
    total = 0
    with open_input(path, ConfigError) as file:
        for number, line in input_lines(file, path, ConfigError, most=LINE):
            total += len(line)
            if total > MOST:
                raise ConfigError(
                    f"{printable(path)}: has more than {size(MOST)}, the most that is read here; split it"
                )
            text = line.removeprefix(codecs.BOM_UTF8).strip() if number == 1 else line.strip()
            where = f"{printable(path)}:{number}"
            try:
                if text:
                    yield number, where, parse_json(text)
            except ValueError as error:
                raise ConfigError(f"{where}: {error}; write one object a line, such as {EXAMPLE}") from None


def _parquet(path: Path) -> Iterator[tuple[int, str, Any]]:
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 - wanted by few
    except ImportError:
        raise ConfigError(
            f"{printable(path)}: Parquet needs pyarrow; {remedy('parquet')}, or convert the file to JSON lines"
        ) from None
    rows = None
    with open_input(path, ConfigError) as file:
        try:
            table = parquet.ParquetFile(file)
            parts = map(table.metadata.row_group, range(table.metadata.num_row_groups))
            if max(sum(part.total_byte_size for part in parts), table.metadata.num_rows) <= MOST:
                rows = table.read().to_pylist()
        except (OSError, ArrowException, ValueError, OverflowError, MemoryError) as error:
            raise ConfigError(f"{printable(path)}: cannot be read as Parquet: {error}") from error
    if rows is None:
        raise ConfigError(
            f"{printable(path)}: holds more than {size(MOST)}, the most that is read here; split it"
        )
    for number, values in enumerate(rows, start=1):
        yield number, f"{path}, row {number}", _present(values)


def _present(value: Any) -> Any:
    """Return a value of Parquet, where a key that one row has is in all of them, without the keys that hold nothing."""
    if isinstance(value, Mapping):
        return {key: _present(held) for key, held in value.items() if held is not None}
    return [_present(held) for held in value] if isinstance(value, list) else value


def _text(values: Any, number: int, where: str) -> Text:
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"{where}: found {type(values).__name__}; a prompt is an object with the key 'text'"
        )
    name = str(next((values[key] for key in NAMES if key in values), f"line-{number}"))
    kind = str(next((values[key] for key in KINDS if key in values), "all"))
    tokens = values.get("tokens")
    if isinstance(tokens, list) and tokens and all(type(token) is int for token in tokens):
        return Text(name, kind, tokens=tuple(tokens), where=where)
    if values.get("messages") is not None:
        return _chat(values, name, kind, where)
    text = next((values[key] for key in TEXTS if key in values), None)
    if text is None:
        text = _first(values.get("turns"))
    if not isinstance(text, str) or not text:
        raise ConfigError(
            f"{where}: needs a text that is not empty under 'text' (or a list of texts under 'turns', of "
            "messages under 'messages', of integers under 'tokens')"
        )
    if text.startswith(ABSENT):
        raise ConfigError(
            f"{where}: the prompt of {name!r} is not in this file, only a note where to get it; complete the file with "
            "prepare_data.py of SPEED-Bench (examples/specdec_bench in https://github.com/NVIDIA/Model-Optimizer)"
        )
    return Text(name, kind, text, where=where)


def _chat(values: Mapping[str, Any], name: str, kind: str, where: str) -> Text:
    messages, more = values["messages"], values.get("chat_template_kwargs", {})
    if (
        not isinstance(messages, list)
        or not messages
        or not all(isinstance(it, Mapping) and isinstance(it.get("role"), str) for it in messages)
    ):
        raise ConfigError(
            f'{where}: \'messages\' must be a list of objects such as {{"role": "user", "content": "Hello"}}'
        )
    if not isinstance(more, Mapping):
        raise ConfigError(
            f"{where}: 'chat_template_kwargs' must be an object, found {type(more).__name__}; the chat template reads "
            "its keys"
        )
    options = {key: values[key] for key in CHAT if values.get(key) is not None}
    return Text(name, kind, messages=messages, options={**options, **more}, where=where)


def _first(turns: Any) -> Any:
    return turns[0] if isinstance(turns, list) and turns else None
