"""`paceline record --synthetic`: made-up cells as recordings, without a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from paceline.core.errors import ConfigError, TraceError
from paceline.lab.recording.resuming import REMEDY, finished
from paceline.lab.recording.writer import write_recording
from paceline.lab.workloads.synthetic import ALL, TEXTS, cells, made_up, slug

if TYPE_CHECKING:
    import typer

FOLDER = Path("runs/cells")
TAKEN = frozenset({"synthetic", "out", "limit", "max_new_tokens", "longest", "force", "as_json"})
"""Options that mean something without a model."""


def refuse_others(context: typer.Context) -> None:
    """Refuse options of the command line that mean nothing without a model.

    Raises:
        ConfigError: Names them.
    """
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name not in TAKEN and _given(context, option.name)
    ]
    if given:
        raise ConfigError(
            f"--synthetic records made-up texts without a model: leave out {', '.join(given)}; it goes with --out, "
            "--limit, --max-new-tokens, --longest, --force and --json"
        )


def record_cells(
    context: typer.Context,
    name: str,
    out: Path,
    *,
    texts: int | None,
    tokens: int | None,
    longest: int,
    force: bool,
    as_json: bool,
) -> None:
    """Write the recording of a cell or a kind, or of all of them, and say where.

    Args:
        context: Tells which options were given.
        name: A cell or a kind, or `all`.
        out: The file; for all of them, the folder of their files. Where it was not given, files go to `runs/cells`.
        texts: How many texts it has; None is the usual number, likewise `tokens`.
        tokens: The length of each.
        longest: The largest gamma that can be tried.
        force: Whether to replace what is there.
        as_json: Print JSON.

    Raises:
        ConfigError: There is no such cell, or an option means nothing here.
        TraceError: A recording is there already.
    """
    refuse_others(context)
    chosen = cells(name)
    paths = {slug(cell): out for cell in chosen}
    if name == ALL or not _given(context, "out"):
        folder = out if _given(context, "out") else FOLDER
        paths = {slug(cell): folder / f"{slug(cell)}.jsonl.zst" for cell in chosen}
    for path in paths.values():
        if not force and finished(path):
            raise TraceError(f"{path}: a finished recording is there; {REMEDY}")
    for cell in chosen:
        path = paths[slug(cell)]
        write_recording(path, made_up(cell, texts=texts or TEXTS, tokens=tokens, longest=longest))
    if as_json:
        found = {"kind": "recorded", "cells": {one: str(path) for one, path in paths.items()}}
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        for path in paths.values():
            sys.stdout.write(f"{texts or TEXTS} made-up texts recorded in {path}\n")


def _given(context: typer.Context, option: str | None) -> bool:
    source = context.get_parameter_source(option) if option is not None else None
    return getattr(source, "name", "") == "COMMANDLINE"
