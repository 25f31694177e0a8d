"""`record` on a terminal: a progress bar while it works, what was recorded and what rounds take when it is done."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from paceline.cli.bars import progress
from paceline.lab.recording.taking import RECORDING, take

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from paceline.core.plugins.catalogue import Catalogue
    from paceline.lab.bench.records import Prompt
    from paceline.lab.parts import Parts
    from paceline.lab.recording.sheet import CostSheet
    from paceline.lab.recording.taking import Settings, Taken

WIDTH = 100
LENGTHS = (1, 2, 4, 8, 16)
"""Tokens that the table tells the times of."""

LAGS = (1, 16, 128)
SHOWN = 3
"""Rounds that did something else, shown one by one; the file has more."""


def recorded(
    parts: Parts,
    catalogue: Catalogue,
    prompts: Sequence[Prompt],
    path: Path,
    *,
    settings: Settings,
    run: Mapping[str, Any],
    replace: bool,
) -> Taken:
    """Record with a bar on stderr if that is a terminal, else with a line there for each text."""
    bar = progress(still=True)
    with bar:
        task = bar.add_task("", total=len(prompts))

        def on_step(done: int, step: str) -> None:
            bar.update(task, completed=done, description=f"{step:<30.30}", refresh=True)
            if bar.disable and step.startswith(RECORDING):
                # A line a text tells those who look into a log hours later how far it has come.
                sys.stderr.write(
                    f"paceline: text {done + 1} of {len(prompts)}: {step.removeprefix(RECORDING)}\n"
                )

        return take(
            parts, catalogue, prompts, path, settings=settings, run=run, replace=replace, on_step=on_step
        )


def show(taken: Taken, path: Path, *, default: bool) -> None:
    """Print what was recorded on stdout, and on stderr what is wrong with it."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    before = f", {taken.before} of them before" if taken.before else ""
    console.print(f"{taken.texts} texts recorded in {path} ({_size(path)}){before}", markup=False)
    console.print()
    console.print(_table(taken.costs))
    console.print(
        f"The loop itself takes {taken.costs.overhead_s * 1e3:.2f} ms a round; "
        f"1000 tokens of context add {taken.costs.context_s * 1e6:.2f} ms to verifying."
    )
    checks = taken.checks
    if checks.rounds:
        share = f"{checks.count} of {checks.rounds} real rounds"
        console.print(f"Checked: {share} did something else than recorded.", markup=False)
    console.print()
    where = "" if default else f" {path}"
    console.print(f"Next: paceline replay{where} --policies all", markup=False)
    for one in checks.different[:SHOWN]:
        sys.stderr.write(f"paceline: not as recorded (a near-tie of two tokens?): {one}\n")
    for name, reason in taken.left_out.items():
        sys.stderr.write(f"paceline: policy {name!r} was not measured: {reason}\n")


def to_json(taken: Taken, path: Path) -> dict[str, Any]:
    """Return what was recorded as JSON-able values."""
    return {
        "kind": "recorded",
        "path": str(path),
        "texts": taken.texts,
        "before": taken.before,
        "costs": taken.costs.to_json(),
        "checks": taken.checks.to_json(),
        "left_out": dict(taken.left_out),
    }


def _table(costs: CostSheet) -> Table:
    """Return the times of the cost sheet in milliseconds."""
    table = Table(title=None, box=None, pad_edge=False, header_style="bold")
    table.add_column("milliseconds")
    for number in LENGTHS:
        table.add_column(f"{number} tok", justify="right", no_wrap=True)
    for lag in LAGS:
        table.add_column(f"lag {lag}", justify="right", no_wrap=True)
    table.add_column("looking", justify="right", no_wrap=True)
    verify = [costs.verify_s(number, costs.context) for number in LENGTHS]
    table.add_row("verify", *map(_ms, verify), *[""] * len(LAGS), "")
    for name, times in costs.drafts.items():
        drafted = [costs.draft_s(name, number) for number in LENGTHS]
        behind = [costs.draft_s(name, 0, lag) - costs.draft_s(name, 0) for lag in LAGS]
        shown = [_ms(seconds) if times.catch_up else "" for seconds in behind]
        table.add_row(f"draft {name}", *map(_ms, drafted), *shown, _ms(times.look_s))
    return table


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f}"


def _size(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
