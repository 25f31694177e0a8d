"""`paceline schema`: the JSON schema of a run file, installed plugins included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def schema(
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write to this file, not to stdout.")
    ] = None,
) -> None:
    """Write the JSON schema of a run file, for editors."""
    from paceline.core.config.schema import json_schema  # noqa: PLC0415 - `paceline --help` does without

    text = json.dumps(json_schema(), indent=2) + "\n"
    if out is None:
        typer.echo(text, nl=False)
        return
    write(out, text)


def write(path: Path, text: str) -> None:
    """Write a file that the user named.

    Raises:
        typer.BadParameter: It cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"cannot write {path}: {error.strerror or error}") from error
