"""`paceline report`: what a replay found, as a page, as pictures, and in the terminal."""

from __future__ import annotations

import webbrowser
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from paceline.cli._options import REPLAY, FormatOption, JsonOption, RecordingOption, ReplayArgument
from paceline.cli._progress import counted
from paceline.cli._render import Column, Format, Table, number, show, show_json, warn
from paceline.core.environment import require
from paceline.core.files import check_output, write_text
from paceline.lab.stats import interval, share, times

if TYPE_CHECKING:
    from paceline.lab.replay.sources import Sources
    from paceline.lab.report.build import Report

OUT = Path("runs/report.html")
NOTE = (
    "* best static gamma in hindsight, of all drafts and gammas: {label}, {speedup} plain\n"
    "captured: time saved, of that between plain decoding and the oracle\n"
    "beyond static: of that between * and the oracle"
)
PICTURE = "ranking.svg"
"""Stands for all pictures where it is asked whether they can be written."""


def report(
    replay: ReplayArgument = REPLAY,
    *,
    recording: RecordingOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Write the page here.")] = OUT,
    pictures: Annotated[
        Path | None, typer.Option("--pictures", metavar="DIR", help="Write each picture here too, as SVG.")
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page when it is written.")
    ] = False,
    form: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """Say which policy is best on the recorded texts, in the terminal and as one HTML page that opens offline.

    Exits with 0 also where the replay misses the measured speeds: the page and the terminal say so.
    """
    require("numpy", "matplotlib", "jinja2")
    from paceline.lab.replay.sources import read_sources  # noqa: PLC0415 - numpy

    given = files_given(replay, recording)
    for path in (out, *([pictures / PICTURE] if pictures is not None else [])):
        check_output(path, inputs=given)
    sources = read_sources(replay, recording)
    if sources.unfinished is not None:
        warn(sources.unfinished)
    if sources.missing is not None:
        warn(sources.missing)
    built = _built(sources)
    _write(built, out, pictures)
    if as_json:
        from paceline.lab.report.page import document  # noqa: PLC0415

        show_json("report", document(built))
    else:
        _show(built, form)
    warn(f"the page is {out}")
    if open_page:
        webbrowser.open(out.resolve().as_uri())


def files_given(replay: Path, recording: Path | None) -> list[Path]:
    """Return the files that a report is made from, as far as they were named."""
    return [replay] if recording is None else [replay, recording]


def _built(sources: Sources) -> Report:
    """Build the report, showing progress on a terminal while optima are worked out."""
    from paceline.lab.hindsight import Hindsight  # noqa: PLC0415
    from paceline.lab.report.build import build_report  # noqa: PLC0415

    recording, source = sources.recording, sources.source("paceline report")
    if recording is None:
        return build_report(sources.results, source=source)
    with counted("optima", len(recording.texts.names())) as advance:
        hindsight = Hindsight(recording, on_text=lambda _text: advance())
        return build_report(sources.results, recording, hindsight, source=source)


def _write(report: Report, out: Path, folder: Path | None) -> None:
    from paceline.lab.report.drawing import standalone  # noqa: PLC0415
    from paceline.lab.report.page import page  # noqa: PLC0415
    from paceline.lab.report.plots import pictures  # noqa: PLC0415

    drawn = pictures(report)
    write_text(out, page(report, drawn))
    if folder is not None:
        for name, drawing in drawn.items():
            write_text(folder / f"{name}.svg", standalone(drawing))


def _show(report: Report, form: Format) -> None:
    """Print the warnings, the result and the ranking."""
    from paceline.lab.report.page import verdict, warnings  # noqa: PLC0415

    for warning in warnings(report):
        style = "bold red" if warning.grave else "dim"
        show(Text(("warning: " if warning.grave else "note: ") + warning.text, style=style), form=form)
    show("", *verdict(report), "", ranking(report), form=form)
    if report.checks:
        show("", validation(report), form=form)


def ranking(report: Report) -> Table:
    """Return the table with one row a policy."""
    oracle, rows = report.oracle is not None, report.shown

    def starred(policy: str) -> str:
        return f"{policy} *" if policy == report.best_static else policy

    table = Table(
        (
            Column("policy", starred),
            Column("speed-up", times, interval),
            *((Column("captured", share), Column("beyond\nstatic", share)) if oracle else ()),
            Column("accepted", share),
            Column("tok/\nround", partial(number, digits=2)),
            Column("gamma", partial(number, digits=1)),
        )
    )
    for row in rows:
        figures = row.all
        table.add(
            row.policy,
            figures.speedup,
            *((figures.captured, figures.captured_static) if oracle else ()),
            row.acceptance,
            figures.accepted_tokens,
            row.totals.gamma,
            style="bold" if row.policy == report.rows[0].policy else None,
        )
    if report.best_static is not None:
        more = len(report.rows) - len(rows)
        table.caption = NOTE.format(label=report.best_static, speedup=times(report.static_speedup)) + (
            f"\n{more} static gammas more are in the page" if more else ""
        )
    return table


def validation(report: Report) -> Table:
    """Return the table of predicted against measured tokens a second."""
    from paceline.lab.validation import LARGEST_MISS  # noqa: PLC0415

    def signed(error: float) -> Text:
        return Text(f"{error:+.1%}", style="red" if abs(error) > LARGEST_MISS else "")

    rate = partial(number, digits=1)
    headings = (Column("predicted", rate), Column("measured", rate), Column("error", signed))
    table = Table(("replay against the clock", *headings))
    for check in report.checks:
        table.add(check.label, check.predicted, check.measured, check.error)
    return table
