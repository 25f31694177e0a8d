"""`replay` on a terminal: a progress bar while it works, the tables when it is done."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table as Grid

from paceline.cli.bars import progress
from paceline.lab.regret.hindsight import hindsight
from paceline.lab.regret.yardsticks import yardsticks
from paceline.lab.replay.planning import replay
from paceline.lab.replay.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from paceline.lab.recording.model import Header, Recording
    from paceline.lab.replay.choosing import Chosen
    from paceline.lab.replay.passes import Done
    from paceline.lab.replay.planning import Settings
    from paceline.lab.replay.results import Replay
    from paceline.lab.replay.summary import Row, Table

WIDTH = 100
BOUNDED = 20_000
"""Tokens of a recording up to which the optimum is worked out for the table: seconds. `paceline report` always does."""

TITLES = {
    "recorded": "texts as recorded",
    "shuffled": "texts shuffled",
    "by-kind": "texts kind by kind",
    "switching": "texts that switch to another kind",
}
STARTS = {
    "warm": "what was learnt goes on from text to text",
    "cold": "everything is learnt anew on each text",
}


def replayed(
    path: Path, out: Path, chosen: Chosen, settings: Settings, *, header: Header, jobs: int, force: bool
) -> Replay:
    """Replay with a bar on stderr, if that is a terminal."""
    bar = progress(still=False)
    with bar:
        task = bar.add_task("replaying", total=None)

        def on_start(known: int, total: int) -> None:
            bar.update(task, total=total, completed=known)
            if known:
                sys.stderr.write(f"paceline: {known} of {total} passes were in {out} already\n")

        def on_done(done: Done) -> None:
            label = next(iter(done.task.policies))
            bar.update(task, advance=len(done.task.policies), description=f"{label:<24.24}")

        return replay(
            path,
            out,
            chosen,
            settings,
            header=header,
            jobs=jobs,
            force=force,
            on_start=on_start,
            on_done=on_done,
        )


def tables(result: Replay, recording: Recording) -> list[Table]:
    """Return the tables of a replay, with what the optimum would have taken where that is soon known."""
    statics = hindsight(recording)
    plain = next((one for one in result.passes if one.order != "switching"), None)
    if plain is None or result.passes[0].draw is not None:
        return summarise(result, statics)
    if sum(outcome.tokens for outcome in plain.outcomes) > BOUNDED:
        return summarise(result, statics)
    known = yardsticks(recording)
    return summarise(result, statics, {name: one.oracle_s for name, one in known.items()})


def show(result: Replay, found: Sequence[Table], header: Header, out: Path) -> None:
    """Print the tables on stdout, and on stderr what could not be tried."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    for table in found:
        console.print(f"{TITLES[table.order]}; {STARTS[table.start]}", style="bold", markup=False)
        console.print(_grid(table))
        console.print(
            f"best static in hindsight, of all drafts and gammas: {table.best_static}",
            style="dim",
            markup=False,
        )
        console.print()
    note = " The recording is made up." if header.made_up else ""
    console.print(
        f"Predicted from recorded agreement and measured times; nothing was decoded.{note} All passes are in {out}; "
        "look at them with `paceline report`.",
        markup=False,
    )
    for label, reason in result.left_out.items():
        sys.stderr.write(f"paceline: {label!r} was left out: {reason}\n")


def to_json(result: Replay, found: Sequence[Table], out: Path) -> dict[str, Any]:
    """Return what the tables show as JSON-able values."""
    return {
        "kind": "replay-summary",
        "version": 1,
        "recording": dict(result.recording),
        "file": str(out),
        "passes": len(result.passes),
        "complete": result.complete,
        "tables": [asdict(table) for table in found],
        "left_out": dict(result.left_out),
    }


def _grid(table: Table) -> Grid:
    """Return one row a policy, with plain decoding and the best static choice of each draft among them."""
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    grid.add_column("policy", no_wrap=True, overflow="ellipsis")
    for heading in ("tokens/s", "over plain", "over best static", "tokens a round", "of headroom"):
        grid.add_column(heading, justify="right", no_wrap=True)
    shown: set[str] = set()
    for row in table.rows:
        draft = row.label.partition(":")[2]  # the rows are sorted, so the first of a draft is its best
        if not row.static or draft not in shown or row.label == "static-0":
            grid.add_row(*_cells(row), style="dim" if row.static else None)
        if row.static:
            shown.add(draft)
    return grid


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.label,
        f"{row.rate:.1f}",
        f"{row.over_plain:.2f}x",
        f"{row.over_static:.3f}x",
        f"{row.accepted_tokens:.2f}",
        "" if row.captured is None else f"{row.captured:.0%}",
    )
