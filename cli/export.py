"""`paceline export`: a recording as a table for data frames."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from paceline.cli._options import RECORDING
from paceline.core.environment import require
from paceline.core.errors import ConfigError
from paceline.core.files import check_output


def export(
    *,
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="The recording.")] = RECORDING,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PATH", help="The file; by default beside the recording."),
    ] = None,
) -> None:
    """Write a recording as a Parquet file: one row for each start of each draft in each text."""
    require("numpy")
    from paceline.lab.recording.parquet import export_parquet  # noqa: PLC0415 - numbers are loaded only now
    from paceline.lab.recording.reader import read_recording  # noqa: PLC0415

    stem = recording.name.removesuffix(".zst").removesuffix(".jsonl")
    path = out if out is not None else recording.with_name(f"{stem}.parquet")
    check_output(path, inputs=[recording])
    if not recording.is_file():
        raise ConfigError(
            f"there is no recording {recording}; make one with `paceline record`, or name another"
        )
    rows = export_parquet(read_recording(recording), path)
    sys.stdout.write(f"{rows} rows written to {path}\n")
