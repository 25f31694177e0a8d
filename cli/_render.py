"""Prints what a command has to say: tables, sentences, and one JSON document."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from rich import table as rich_table
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.lab.stats import Ratio

WIDTH = 100
"""Columns of what is printed into a pipe or a file."""

NAME_WIDTH = 28
"""Longer names are cut short on a terminal; other formats have them whole."""

VERSION = 1
"""Of the JSON documents. Fields may be added within a version."""

NUMBER_WIDTH = 16
"""Likewise for what stands above numbers, such as kinds of prompts."""

Cell = str | Text


class Format(StrEnum):
    """Ways to write a table."""

    TEXT = "text"
    MARKDOWN = "markdown"
    CSV = "csv"


@dataclass(slots=True)
class Table:
    """Rows of cells under headings: names on the left, numbers to the right of them.

    Attributes:
        headings: Of the columns. A line break in one is for the terminal alone.
        names: Columns on the left that hold names.
        prose: Whether the last column holds a sentence, which may take several lines.
        caption: Sentences below the table.
        rows: The cells of each row, with the row's style on a terminal.
    """

    headings: Sequence[str]
    names: int = 1
    prose: bool = False
    caption: str = ""
    rows: list[tuple[tuple[Cell, ...], str | None]] = field(default_factory=list)

    def add(self, *cells: Cell, style: str | None = None) -> None:
        """Add a row."""
        self.rows.append((cells, style))

    def grid(self) -> rich_table.Table:
        """Return the table for a terminal.

        On a narrow one, columns that may wrap give way first: the first names, which then are cut short instead.
        """
        grid = rich_table.Table(box=None, pad_edge=False, header_style="bold")
        last = len(self.headings) - 1
        for place, heading in enumerate(self.headings):
            if place == 0:
                grid.add_column(heading, max_width=NAME_WIDTH)
            elif place == last and self.prose:
                grid.add_column(heading)
            elif place < self.names:
                grid.add_column(heading, no_wrap=True)
            else:
                grid.add_column(heading, justify="right", no_wrap=True, max_width=NUMBER_WIDTH)
        for (first, *others), style in self.rows:
            name = Text(first) if isinstance(first, str) else first.copy()
            name.no_wrap, name.overflow = True, "ellipsis"
            grid.add_row(name, *map(_text, others), style=style)
        if self.caption:
            grid.caption, grid.caption_justify = Text(self.caption, style="dim"), "left"
        return grid

    def markdown(self) -> str:
        """Return the table for a Markdown page."""
        numbers = len(self.headings) - self.names - self.prose
        rules = ["---"] * self.names + ["--:"] * numbers + ["---"] * self.prose
        rows = [[_joined(heading) for heading in self.headings], rules, *self._plain()]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        return "\n".join([*lines, *(["", self.caption] if self.caption else [])]) + "\n"

    def csv(self) -> str:
        """Return the table for a spreadsheet."""
        written = io.StringIO()
        csv.writer(written, lineterminator="\n").writerows([map(_joined, self.headings), *self._plain()])
        return written.getvalue()

    def _plain(self) -> list[list[str]]:
        return [[str(cell) for cell in cells] for cells, _style in self.rows]


def show(*parts: Table | Cell, form: Format = Format.TEXT) -> None:
    """Print tables and lines on stdout, in their order. CSV has room for tables alone, an empty line after each."""
    if form is Format.TEXT:
        console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
        for part in parts:
            console.print(part.grid() if isinstance(part, Table) else part, markup=False)
    elif form is Format.MARKDOWN:
        sys.stdout.writelines(
            f"\n{part.markdown()}" if isinstance(part, Table) else f"{part}\n" for part in parts
        )
    else:
        sys.stdout.writelines(f"{part.csv()}\n" for part in parts if isinstance(part, Table))


def document(kind: str, values: Mapping[str, Any]) -> str:
    """Return a command's JSON document: its kind and version, and the values."""
    return json.dumps({"kind": kind, "version": VERSION, **values}, indent=2) + "\n"


def show_json(kind: str, values: Mapping[str, Any]) -> None:
    """Print a command's JSON document on stdout."""
    sys.stdout.write(document(kind, values))


def warn(message: str) -> None:
    """Tell people something, on stderr."""
    sys.stderr.write(f"paceline: {message}\n")


def left_out(reasons: Mapping[str, str]) -> None:
    """Tell which policies, by name, were left out and why."""
    for name, reason in reasons.items():
        warn(f"{name!r} was left out: {reason}")


def _text(cell: Cell) -> Text:
    return Text(cell) if isinstance(cell, str) else cell


def _joined(heading: str) -> str:
    """Return a heading on one line."""
    return heading.replace("-\n", "").replace("/\n", "/").replace("\n", " ")


def times(ratio: Ratio | None, digits: int = 2) -> str:
    """Return a ratio as `1.72x`, or nothing where it is unknown."""
    return "" if ratio is None else f"{ratio.value:.{digits}f}x"


def spread(ratio: Ratio | None) -> str:
    """Return the interval of a ratio as `1.60-1.80`, or nothing where it is unknown."""
    return "" if ratio is None or ratio.low is None else f"{ratio.low:.2f}-{ratio.high:.2f}"


def share(value: Ratio | float | None) -> str:
    """Return a share as `42%`, or nothing where it is unknown."""
    if value is None:
        return ""
    return f"{round(100 * (value if isinstance(value, int | float) else value.value))}%"


def shares(ratio: Ratio | None) -> str:
    """Return the interval of a share as `40 to 45`, or nothing where it is unknown."""
    if ratio is None or ratio.low is None or ratio.high is None:
        return ""
    return f"{round(100 * ratio.low)} to {round(100 * ratio.high)}"


def number(value: float | None, digits: int) -> str:
    """Return a number with so many digits, or nothing where it is unknown."""
    return "" if value is None else f"{value:.{digits}f}"


def value_of(ratio: Ratio | None) -> float | None:
    """Return the value of a ratio without its interval, or None where it is unknown."""
    return ratio.value if ratio is not None else None
