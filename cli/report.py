"""`paceline report`: what a replay found, as a page, as pictures, and in the terminal."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline.cli._options import REPLAY, JsonOption, RecordingOption, ReplayArgument
from paceline.cli._progress import counted
from paceline.cli._render import WIDTH, show_json, warn
from paceline.core.environment import require
from paceline.core.files import check_output, write_text

if TYPE_CHECKING:
    from paceline.lab.report.findings import Findings
    from paceline.lab.report.inputs import Inputs

OUT = Path("runs/report.html")
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
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page when it is written.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say which policy is best on the recorded texts, in the terminal and as one HTML page that opens offline.

    Exits with 0 also where the replay misses the measured speeds: the page and the terminal say so.
    """
    require("numpy", "matplotlib", "jinja2")
    from paceline.lab.report.inputs import read_inputs  # noqa: PLC0415 - numpy, matplotlib

    given = files_given(replay, recording)
    for path in (out, *([pictures / PICTURE] if pictures is not None else [])):
        check_output(path, inputs=given)
    inputs = read_inputs(replay, recording)
    if inputs.missing is not None:
        warn(inputs.missing)
    found = findings(inputs, "paceline report")
    _write(found, out, pictures)
    if as_json:
        from paceline.lab.report.document import document  # noqa: PLC0415

        show_json("report", document(found))
    else:
        _summarise(found)
    warn(f"the page is {out}")
    if show:
        webbrowser.open(out.resolve().as_uri())


def files_given(replay: Path, recording: Path | None) -> list[Path]:
    """Return the files that a report is made from, as far as they were named."""
    return [replay] if recording is None else [replay, recording]


def findings(inputs: Inputs, command: str) -> Findings:
    """Return what the inputs hold, showing progress on a terminal while optima are worked out."""
    from paceline.lab.report.gather import Known, gather  # noqa: PLC0415
    from paceline.lab.report.known import known  # noqa: PLC0415

    source = inputs.source(command)
    if inputs.recording is None:
        return gather(inputs.replay, Known(source=source))
    with counted("optima", len(inputs.recording.texts.names())) as advance:
        return gather(inputs.replay, known(inputs.recording, source=source, on_text=lambda _text: advance()))


def _write(found: Findings, out: Path, folder: Path | None) -> None:
    from paceline.lab.report.drawing import standalone  # noqa: PLC0415
    from paceline.lab.report.page import page  # noqa: PLC0415
    from paceline.lab.report.pictures.all import pictures  # noqa: PLC0415

    drawn = pictures(found)
    write_text(out, page(found, drawn))
    if folder is not None:
        for name, drawing in drawn.items():
            write_text(folder / f"{name}.svg", standalone(drawing))


def _summarise(found: Findings) -> None:
    from rich.console import Console  # noqa: PLC0415

    from paceline.lab.report.terminal import render  # noqa: PLC0415

    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    for part in render(found):
        console.print(part, markup=False)
