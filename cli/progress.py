"""The bench on a terminal: a progress bar while it measures, the tables when it is done."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console

from paceline.cli.bars import progress
from paceline.lab.bench.table import render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.lab.bench.measure import Measurement
    from paceline.lab.bench.records import Run
    from paceline.lab.bench.summary import Result

WIDTH = 100


def measured(measurement: Measurement) -> tuple[list[Run], bool]:
    """Measure to the end or until interrupted; return the runs of the finished blocks, and whether it was."""
    runs: list[Run] = []
    bar = progress(still=True)
    total = measurement.repeats * len(measurement.prompts)
    with bar:
        task = bar.add_task("warming up", total=total)

        def before(mode: str) -> None:
            bar.update(task, description=f"{mode:<14.14}", refresh=True)

        measurement.before = before
        try:
            measurement.warm_up()
            for block in measurement.blocks():
                runs.extend(block)
                bar.advance(task)
        except KeyboardInterrupt:
            return runs, True
    return runs, False


def show(result: Result, measurement: Measurement, left_out: Mapping[str, str], *, stopped: bool) -> None:
    """Print the tables on stdout, and on stderr what went wrong."""
    console = Console(
        width=None if sys.stdout.isatty() else WIDTH,
        highlight=False,
        soft_wrap=False,
    )
    for part in render(result):
        console.print(part, markup=False)
    for mode, reason in left_out.items():
        sys.stderr.write(f"paceline: mode {mode!r} was left out: {reason}\n")
    for mode, error in measurement.failed.items():
        sys.stderr.write(f"paceline: mode {mode!r} failed and was left out: {error}\n")
    if stopped:
        sys.stderr.write("paceline: interrupted; this is what was finished before\n")
