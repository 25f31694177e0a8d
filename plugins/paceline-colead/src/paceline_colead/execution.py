"""The checker: executes programs on the example texts and flights of a domain; two that give the same are the same.

What the APIs do is what `domain.yaml` says of them. Words are what spaces divide.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from paceline_colead.domain import FOLDER
from paceline_colead.errors import ProgramError
from paceline_colead.grammar import Call

if TYPE_CHECKING:
    from collections.abc import Iterable

MARKS = {
    "colon": ":",
    "comma": ",",
    "dash": "-",
    "hash": "#",
    "dot": ".",
    "plus": "+",
    "slash": "/",
    "star": "*",
}

Span = tuple[int, int]


class Flight(NamedTuple):
    """A row of flights.csv."""

    number: int
    start: str
    end: str
    day: str
    hour: int
    airline: str
    stops: int
    fare: int


CONDITIONS: dict[str, Callable[[Flight, str], bool]] = {
    "FROM": lambda row, city: row.start == city,
    "TO": lambda row, city: row.end == city,
    "ON": lambda row, day: row.day == day,
    "BEFORE": lambda row, hour: row.hour < int(hour),
    "AFTER": lambda row, hour: row.hour >= int(hour),
    "BY": lambda row, airline: row.airline == airline,
}


def execute(domain: str, program: Call) -> tuple[str, ...]:
    """Return what a program does on the examples of its domain: the edited lines, or the answer.

    Raises:
        ProgramError: There is no way to execute programs of this domain, or it calls what is unknown there.
    """
    match domain:
        case "editing":
            return tuple(edit(program, line) for line in examples())
        case "flights":
            return answer(program, flights())
    raise ProgramError(f"programs of {domain!r} cannot be executed; those of editing and flights can")


@cache
def examples() -> tuple[str, ...]:
    """Return the example lines of the domain `editing`."""
    return tuple((FOLDER / "editing" / "examples.txt").read_text(encoding="utf-8").splitlines())


@cache
def flights() -> tuple[Flight, ...]:
    """Return the flights of the domain `flights`."""
    with (FOLDER / "flights" / "flights.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            Flight(
                int(row["number"]),
                row["from"],
                row["to"],
                row["day"],
                int(row["hour"]),
                row["airline"],
                int(row["stops"]),
                int(row["fare"]),
            )
            for row in csv.DictReader(file)
        )


def edit(program: Call, line: str) -> str:
    """Return a line after a program of the domain `editing`."""
    *arguments, lines = program.arguments
    if not _applies(lines, line):
        return line
    match program.api, arguments:
        case "INSERT", [str(string), Call() as place]:
            return _rewritten(line, _places(place, line), lambda _: MARKS[string])
        case "DELETE", [Call() as part]:
            return _rewritten(line, _spans(part, line), lambda _: "")
        case "REPLACE", [Call() as part, str(string)]:
            return _rewritten(line, _spans(part, line), lambda _: MARKS[string])
        case "UPPERCASE", [Call() as part]:
            return _rewritten(line, _spans(part, line), str.upper)
    raise ProgramError(f"editing: {program} cannot be executed")


def _applies(condition: Call | str, line: str) -> bool:
    match condition:
        case Call("EVERY_LINE"):
            return True
        case Call("CONTAINS", (str(string),)):
            return MARKS[string] in line
        case Call("BEGINS_WITH", (str(string),)):
            return line.startswith(MARKS[string])
        case Call("EMPTY_OF", (str(string),)):
            return MARKS[string] not in line
    raise ProgramError(f"editing: {condition} is no condition on lines")


def _places(place: Call, line: str) -> list[Span]:
    match place:
        case Call("START"):
            return [(0, 0)]
        case Call("END"):
            return [(len(line), len(line))]
        case Call("AFTER", (Call() as part,)):
            return [(end, end) for _, end in _spans(part, line)]
        case Call("BEFORE", (Call() as part,)):
            return [(start, start) for start, _ in _spans(part, line)]
    raise ProgramError(f"editing: {place} is no place")


def _spans(part: Call, line: str) -> list[Span]:
    """Return start and end of each place of the line that a part means."""
    match part:
        case Call("WORD", (which,)):
            return _chosen(which, list(_words(line)))
        case Call("CHARACTER", (which,)):
            return _chosen(which, [(at, at + 1) for at in range(len(line))])
        case Call("EACH", (str(string),)):
            return [(at, at + 1) for at, mark in enumerate(line) if mark == MARKS[string]]
    raise ProgramError(f"editing: {part} is no part of a line")


def _words(line: str) -> Iterable[Span]:
    at = 0
    for word in line.split():
        at = line.index(word, at)
        yield at, at + len(word)
        at += len(word)


def _chosen(which: Call | str, spans: list[Span]) -> list[Span]:
    match which:
        case Call("LAST"):
            return spans[-1:]
        case Call("NUMBER", (str(number),)) | str(number):
            return spans[int(number) - 1 : int(number)]
    raise ProgramError(f"editing: {which} counts nothing")


def _rewritten(line: str, spans: list[Span], change: Callable[[str], str]) -> str:
    for start, end in reversed(spans):
        line = line[:start] + change(line[start:end]) + line[end:]
    return line


def answer(program: Call, table: tuple[Flight, ...]) -> tuple[str, ...]:
    """Return what a program of the domain `flights` answers."""
    match program:
        case Call(_, (Call("FLIGHTS", conditions),)):
            rows = [row for row in table if all(_holds(each, row) for each in conditions)]
        case _:
            raise ProgramError(f"flights: {program} cannot be executed")
    match program.api:
        case "LIST":
            return tuple(str(row.number) for row in rows)
        case "COUNT":
            return (f"{len(rows)} flights",)
        case "FARES":
            return tuple(f"${row.fare}" for row in rows)
        case "CHEAPEST":
            return tuple(str(row.number) for row in rows if row.fare == min(each.fare for each in rows))
        case "EARLIEST":
            return tuple(str(row.number) for row in rows if row.hour == min(each.hour for each in rows))
        case "LATEST":
            return tuple(str(row.number) for row in rows if row.hour == max(each.hour for each in rows))
    raise ProgramError(f"flights: {program.api} answers nothing")


def _holds(condition: Call | str, row: Flight) -> bool:
    match condition:
        case Call("ANY_DAY" | "ANY_TIME" | "ANY_AIRLINE" | "ANY_STOPS"):
            return True
        case Call("MORNING"):
            return row.hour < 12
        case Call("EVENING"):
            return row.hour >= 18
        case Call("NONSTOP"):
            return row.stops == 0
        case Call(api, (str(value),)) if api in CONDITIONS:
            return CONDITIONS[api](row, value)
    raise ProgramError(f"flights: {condition} is no condition on flights")
