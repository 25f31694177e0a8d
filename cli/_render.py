"""Prints what a command has to say: tables, sentences, and one JSON document."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from rich import table as rich_table
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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


def _written(value: Any) -> Cell:
    return value if isinstance(value, Text) else "" if value is None else str(value)


class Column(NamedTuple):
    """One column of a table. CSV has values as they are: of a ratio with an interval three of them.

    Attributes:
        heading: Above it; a line break is for the terminal alone. "" has the column in CSV only.
        write: Writes a value for people.
        interval: Writes the interval of a ratio in a column of its own, headed 90%.
        name: In CSV; by default the heading.
    """

    heading: str
    write: Callable[[Any], Cell] = _written
    interval: Callable[[Ratio | None], str] | None = None
    name: str = ""

    def names(self) -> list[str]:
        """Return the headings in CSV."""
        name = self.name or _joined(self.heading)
        return [name] if self.interval is None else [name, f"{name} low", f"{name} high"]

    def values(self, value: Any) -> list[Any]:
        """Return the values in CSV."""
        if self.interval is None:
            return [getattr(value, "value", value)]
        return [None] * 3 if value is None else [value.value, value.low, value.high]


@dataclass(slots=True)
class Table:
    """Rows of values under headings: names on the left, numbers to the right of them.

    Attributes:
        columns: From the left; a heading stands for a column of strings.
        names: Columns on the left that hold names.
        prose: Whether the last column holds a sentence, which may take several lines.
        caption: Sentences below the table.
        rows: The values of each row, with the row's style on a terminal.
    """

    columns: Sequence[Column | str]
    names: int = 1
    prose: bool = False
    caption: str = ""
    rows: list[tuple[tuple[Any, ...], str | None]] = field(default_factory=list)

    def add(self, *values: Any, style: str | None = None) -> None:
        """Add a row."""
        self.rows.append((values, style))

    def grid(self) -> rich_table.Table:
        """Return the table for a terminal.

        On a narrow one, columns that may wrap give way first: the first names, which then are cut short instead.
        """
        grid = rich_table.Table(box=None, pad_edge=False, header_style="bold")
        headings = self._headings()
        last = len(headings) - 1
        for place, heading in enumerate(headings):
            if place == 0:
                grid.add_column(heading, max_width=NAME_WIDTH)
            elif place == last and self.prose:
                grid.add_column(heading)
            elif place < self.names:
                grid.add_column(heading, no_wrap=True)
            else:
                grid.add_column(heading, justify="right", no_wrap=True, max_width=NUMBER_WIDTH)
        for values, style in self.rows:
            first, *others = self._cells(values)
            name = Text(first) if isinstance(first, str) else first.copy()
            name.no_wrap, name.overflow = True, "ellipsis"
            cells = (Text(cell) if isinstance(cell, str) else cell for cell in others)
            grid.add_row(name, *cells, style=style)
        if self.caption:
            grid.caption, grid.caption_justify = Text(self.caption, style="dim"), "left"
        return grid

    def markdown(self) -> str:
        """Return the table for a Markdown page."""
        headings = [_joined(heading) for heading in self._headings()]
        numbers = len(headings) - self.names - self.prose
        rules = ["---"] * self.names + ["--:"] * numbers + ["---"] * self.prose
        rows = [headings, rules, *([str(cell) for cell in self._cells(values)] for values, _ in self.rows)]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        return "\n".join([*lines, *(["", self.caption] if self.caption else [])]) + "\n"

    def csv_rows(self) -> tuple[list[str], list[list[Any]]]:
        """Return headings and rows for a spreadsheet."""
        columns = self._columns()
        rows = [
            [cell for column, value in zip(columns, values, strict=True) for cell in column.values(value)]
            for values, _ in self.rows
        ]
        return [name for column in columns for name in column.names()], rows

    def _columns(self) -> list[Column]:
        return [Column(column) if isinstance(column, str) else column for column in self.columns]

    def _headings(self) -> list[str]:
        shown = [column for column in self._columns() if column.heading]
        return [
            heading for column in shown for heading in (column.heading, *(["90%"] if column.interval else []))
        ]

    def _cells(self, values: Sequence[Any]) -> list[Cell]:
        cells: list[Cell] = []
        for column, value in zip(self._columns(), values, strict=True):
            if column.heading:
                cells += [column.write(value), *([column.interval(value)] if column.interval else [])]
        return cells


def show(*parts: Table | Cell, form: Format = Format.TEXT) -> None:
    """Print tables and lines on stdout, in their order.

    CSV has room for tables alone; those with the same headings are one, and an empty line is between others.
    """
    if form is Format.TEXT:
        console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
        for part in parts:
            console.print(part.grid() if isinstance(part, Table) else part, markup=False)
    elif form is Format.MARKDOWN:
        sys.stdout.writelines(
            f"\n{part.markdown()}" if isinstance(part, Table) else f"{part}\n" for part in parts
        )
    else:
        writer, before = csv.writer(sys.stdout, lineterminator="\n"), None
        for headings, rows in (part.csv_rows() for part in parts if isinstance(part, Table)):
            if headings != before:
                writer.writerows([*([[]] if before is not None else []), headings])
            writer.writerows(rows)
            before = headings


def document(kind: str, values: Mapping[str, Any], *, indent: int | None = 2) -> str:
    """Return a command's JSON document: its kind and version, and the values."""
    return json.dumps({"kind": kind, "version": VERSION, **values}, indent=indent) + "\n"


def show_json(kind: str, values: Mapping[str, Any], *, indent: int | None = 2) -> None:
    """Print a command's JSON document on stdout; without `indent` on one line, where more of them follow."""
    sys.stdout.write(document(kind, values, indent=indent))


def warn(message: str) -> None:
    """Tell people something, on stderr."""
    sys.stderr.write(f"paceline: {message}\n")


def left_out(reasons: Mapping[str, str]) -> None:
    """Tell which policies, by name, were left out and why."""
    for name, reason in reasons.items():
        warn(f"{name!r} was left out: {reason}")


def _joined(heading: str) -> str:
    """Return a heading on one line."""
    return heading.replace("-\n", "").replace("/\n", "/").replace("\n", " ")


def number(value: float | None, digits: int) -> str:
    """Return a number with so many digits, or nothing where it is unknown."""
    return "" if value is None else f"{value:.{digits}f}"


def value_of(ratio: Ratio | None) -> float | None:
    """Return the value of a ratio without its interval, or None where it is unknown."""
    return ratio.value if ratio is not None else None
