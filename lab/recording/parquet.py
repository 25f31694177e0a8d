"""A recording as a Parquet file, for data frames: one row for each start of each draft in each text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paceline.core.environment import remedy
from paceline.core.errors import TraceError
from paceline.core.files import replacing
from paceline.core.records import SIGNALS
from paceline.lab.recording.format import header_to_json

if TYPE_CHECKING:
    from types import ModuleType

    from paceline.lab.recording.model import Header, Recording, Starts, Text


def export_parquet(recording: Recording, path: Path | str) -> int:
    """Write a recording and return the number of rows; texts are read and written one at a time.

    Columns: `text`, `kind`, `varies`, `prompt_tokens`, `start`, `token` (the text's own at the start), `draft`,
    `offered`, `agreed`, `match_length`, `chance`, and for each signal that some draft has a list `signal_...`, one
    number for each token offered. What a draft does not have is null. What holds for all of it is in the file's
    metadata, under `paceline`, as JSON.

    Raises:
        TraceError: pyarrow is not installed, the file cannot be written, or the recording is damaged.
    """
    path, arrow = Path(path), _arrow()
    from pyarrow import parquet  # noqa: PLC0415 - only here

    schema = _schema(arrow, recording.header)
    rows = 0
    with replacing(path, TraceError) as new, parquet.ParquetWriter(new, schema, compression="zstd") as writer:
        for text in recording:
            for name, starts in text.drafts.items():
                columns = _columns(arrow, text, name, starts, schema)
                try:
                    writer.write_table(arrow.Table.from_pydict(columns, schema=schema))
                except arrow.ArrowException as error:
                    raise TraceError(
                        f"the text {text.name!r} does not fit a Parquet file: {error}"
                    ) from error
                rows += len(text.tokens)
    return rows


def _schema(arrow: ModuleType, header: Header) -> Any:
    known = {signal for info in header.drafts.values() for signal in info.signals}
    fields = [
        ("text", arrow.string()),
        ("kind", arrow.string()),
        ("varies", arrow.bool_()),
        ("prompt_tokens", arrow.int32()),
        ("start", arrow.int32()),
        ("token", arrow.int32()),
        ("draft", arrow.string()),
        ("offered", arrow.int16()),
        ("agreed", arrow.int16()),
        ("match_length", arrow.int32()),
        ("chance", arrow.float32()),
        ("draft_factor", arrow.float32()),
        ("verify_factor", arrow.float32()),
        ("verify_token_s", arrow.float32()),
        *(
            (f"signal_{signal}", arrow.list_(arrow.int32() if signal == "token" else arrow.float32()))
            for signal in sorted(SIGNALS & known)
        ),
    ]
    about = header_to_json(header) | {"costs": header.costs.to_json()}
    return arrow.schema(fields, metadata={"paceline": json.dumps(about)})


def _columns(arrow: ModuleType, text: Text, name: str, starts: Starts, schema: Any) -> dict[str, Any]:
    n = len(text.tokens)
    columns: dict[str, Any] = {
        "text": [text.name] * n,
        "kind": [text.kind] * n,
        "varies": [text.varies] * n,
        "prompt_tokens": np.full(n, text.prompt_tokens, np.int32),
        "start": np.arange(n, dtype=np.int32),
        "token": np.asarray(text.tokens, np.int32),
        "draft": [name] * n,
        "offered": starts.offered,
        "agreed": starts.agreed,
        "match_length": [None] * n if starts.match_lengths is None else starts.match_lengths,
        "chance": [None] * n if starts.acceptance_probs is None else starts.acceptance_probs,
    }
    changes = text.changes
    columns["draft_factor"] = (
        [1.0] * n if changes is None else changes.drafts.get(name, np.ones(n, np.float32))
    )
    columns["verify_factor"] = [1.0] * n if changes is None else changes.verify
    columns["verify_token_s"] = [0.0] * n if changes is None else changes.token_s
    for field in schema:
        if field.name in columns:
            continue
        rows = starts.signals.get(field.name.removeprefix("signal_"))
        columns[field.name] = [None] * n if rows is None else _lists(arrow, rows, starts, field.type)
    return columns


def _lists(arrow: ModuleType, rows: Any, starts: Starts, kind: Any) -> Any:
    """Return one list a start, as long as tokens are offered there."""
    known = np.arange(rows.shape[1])[None, :] < starts.offered[:, None]
    ends = np.concatenate([[0], np.cumsum(starts.offered, dtype=np.int64)]).astype(np.int32)
    return arrow.ListArray.from_arrays(ends, arrow.array(rows[known])).cast(kind)


def _arrow() -> ModuleType:
    try:
        import pyarrow as pa  # noqa: PLC0415 - wanted by few
    except ImportError:
        raise TraceError(f"Parquet files need the library pyarrow; {remedy('parquet')}") from None
    return pa  # type: ignore[no-any-return]
