"""The report for those who stay in the terminal: the result, the warnings, the ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from paceline.lab.report.pictures.choice import shown
from paceline.lab.report.words import interval, share, times, verdict, warnings
from paceline.lab.validation import LARGEST_MISS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from paceline.lab.report.findings import Findings

NAME_WIDTH = 28
NOTE = (
    "* best static gamma in hindsight, of all drafts and gammas: {label}, {speedup} plain\n"
    "captured: time saved, of that between plain decoding and the oracle\n"
    "beyond static: of that between * and the oracle"
)


def render(findings: Findings) -> Iterator[RenderableType]:
    """Yield everything to print, in order."""
    for warned in warnings(findings):
        yield Text(
            ("warning: " if warned.grave else "note: ") + warned.text,
            style="bold red" if warned.grave else "dim",
        )
    yield ""
    for said in verdict(findings):
        yield Text(said)
    yield ""
    yield ranking(findings)
    if findings.checks:
        yield ""
        yield validation(findings)


def _table(first: str, *headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, max_width=NAME_WIDTH)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _name(label: str) -> Text:
    return Text(label, no_wrap=True, overflow="ellipsis")


def ranking(findings: Findings) -> Table:
    """Return the table with one row a policy."""
    oracle = findings.oracle is not None
    headings = [
        "speed-up",
        "90%",
        *(["captured", "beyond\nstatic"] if oracle else []),
        "accepted",
        "tok/\nround",
        "gamma",
    ]
    table = _table("policy", *headings)
    rows = shown(findings)
    for row in rows:
        best = row.label == findings.best
        table.add_row(
            _name(f"{row.label} *" if row.label == findings.best_static else row.label),
            times(row.speedup),
            interval(row.speedup) if row.label != findings.plain else "",
            *([share(row.captured), share(row.captured_static)] if oracle else []),
            "" if row.acceptance is None else f"{row.acceptance:.0%}",
            f"{row.per_round:.2f}",
            f"{row.gamma:.1f}",
            style="bold" if best else None,
        )
    if findings.best_static is not None:
        more = len(findings.rows) - len(rows)
        table.caption = Text(
            NOTE.format(label=findings.best_static, speedup=times(findings.static_speedup))
            + (f"\n{more} static gammas more are in the page" if more else ""),
            style="dim",
        )
        table.caption_justify = "left"
    return table


def validation(findings: Findings) -> Table:
    """Return the table of predicted against measured tokens a second."""
    table = _table("replay against the clock", "predicted", "measured", "error")
    for check in findings.checks:
        error = Text(f"{check.error:+.1%}", style="red" if abs(check.error) > LARGEST_MISS else "")
        table.add_row(_name(check.policy), f"{check.predicted:.1f}", f"{check.measured:.1f}", error)
    return table
