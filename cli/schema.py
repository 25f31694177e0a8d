"""`paceline schema`: the JSON schema of a run file, installed plugins included."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from paceline.core.files import check_output, write_text


def schema(
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write to this file, not to stdout.")
    ] = None,
) -> None:
    """Write the JSON schema of a run file, for editors."""
    if out is not None:
        check_output(out)
    from paceline.core.config.schema import json_schema  # noqa: PLC0415 - `paceline --help` does without

    text = json.dumps(json_schema(), indent=2) + "\n"
    if out is None:
        sys.stdout.write(text)
    else:
        write_text(out, text)
