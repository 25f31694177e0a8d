"""`paceline record --synthetic`: made-up cells as recordings, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from paceline.cli._options import RECORDING, is_given, refuse_others
from paceline.cli._render import show, show_json
from paceline.core.errors import TraceError
from paceline.lab.recording.resume import REMEDY, finished
from paceline.lab.recording.writer import write_recording
from paceline.lab.workloads.synthetic import ALL, TEXTS, cells, made_up, slug

if TYPE_CHECKING:
    import typer

FOLDER = Path("runs/cells")
TAKEN = frozenset({"synthetic", "out", "limit", "max_new_tokens", "longest", "force", "as_json"})
"""Options that mean something without a model."""


def record_synthetic(
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
        out: The file; for all of them, the folder of their files, by default `runs/cells`.
        texts: How many texts it has; None is the usual number, likewise `tokens`.
        tokens: The length of each.
        longest: The largest gamma that can be tried.
        force: Whether to replace what is there.
        as_json: Print JSON.

    Raises:
        ConfigError: There is no such cell, or an option means nothing here.
        TraceError: A recording is there already.
    """
    refuse_others(context, TAKEN, "--synthetic records made-up texts without a model")
    chosen = cells(name)
    paths = {slug(cell): out for cell in chosen}
    if name == ALL:
        folder = out if is_given(context, "out") else FOLDER
        paths = {slug(cell): folder / f"{slug(cell)}.jsonl.zst" for cell in chosen}
    for path in paths.values():
        if not force and finished(path):
            raise TraceError(f"{path}: a finished recording is there; {REMEDY}")
    for cell in chosen:
        path = paths[slug(cell)]
        write_recording(path, made_up(cell, texts=texts or TEXTS, tokens=tokens, longest=longest))
    if as_json:
        show_json("recorded", {"cells": {cell: str(path) for cell, path in paths.items()}})
        return
    show(*(f"{texts or TEXTS} made-up texts recorded in {path}" for path in paths.values()))
    if name != ALL:
        show("", f"Next: paceline replay{'' if out == RECORDING else f' {out}'} --policies all")
