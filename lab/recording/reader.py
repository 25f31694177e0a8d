"""Reads recordings: once through for what holds for all of it, then text by text, as often as wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paceline.core.errors import TraceError
from paceline.core.json_text import parse_json
from paceline.lab.json_lines import unseal
from paceline.lab.recording.files import compressed, line_at, lines
from paceline.lab.recording.format import (
    MALFORMED,
    check_first,
    header_from_json,
    measured_from_json,
    text_from_json,
)
from paceline.lab.recording.latency import LatencyProfile
from paceline.lab.recording.model import Header, Measured, Recording, Text, TextSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

AGAIN = "make it anew with `paceline record`"


def read_recording(path: Path | str) -> Recording:
    """Read a recording; its texts stay in the file until they are asked for.

    A last line that was cut off by a crash is left out, and `Recording.complete` is False.

    Raises:
        TraceError: The file is missing, empty, no recording, of another version, or damaged before its last line.
    """
    path = Path(path)
    content = _Content()
    for number, place, values in parsed(path):
        try:
            content.take(number, place, values)
        except MALFORMED as error:
            raise _damaged(path, number, error) from error
    costs = content.costs
    if not content.index or costs is None:
        raise TraceError(f"{path}: no text was finished before the recording broke off; {AGAIN}")
    try:
        header = header_from_json(content.first, costs)
    except MALFORMED as error:
        raise _damaged(path, 1, error) from error
    missing = header.drafts.keys() - costs.drafts.keys()
    if missing:
        raise TraceError(
            f"{path}: the latency profile says nothing about the draft {min(missing)!r}; {AGAIN}"
        )
    # Of a text that was cut off, what was measured is left over.
    measured = tuple(run for run in content.measured if run.text in content.index)
    return Recording(header, measured, FileTexts(path, header, content.index), content.complete)


@dataclass(slots=True)
class _Content:
    """Findings of one pass over the lines."""

    first: Mapping[str, Any] = field(default_factory=dict)
    costs: LatencyProfile | None = None
    measured: list[Measured] = field(default_factory=list)
    index: dict[str, tuple[int, int]] = field(default_factory=dict)
    complete: bool = False

    def take(self, number: int, place: int, values: Mapping[str, Any]) -> None:
        """Take in a line."""
        kind = values["kind"]
        if number == 1:
            self.first = values
        elif kind == "text":
            if values["name"] in self.index:
                raise ValueError(
                    f"the text {values['name']!r} stands in line {self.index[values['name']][0]} too"
                )
            self.index[values["name"]] = number, place
        elif kind == "costs":
            self.costs = LatencyProfile.from_json(values)
        elif kind == "measured":
            self.measured.append(measured_from_json(values))
        elif kind == "end":
            if values["texts"] != len(self.index):
                raise ValueError(f"{values['texts']} texts were written, and {len(self.index)} are here")
            self.complete = True


def parsed(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield each line's number, place and values; the first one is that of a recording.

    Raises:
        TraceError: The file is empty, no recording, or a line is no JSON object.
    """
    number = 0
    for number, place, line in lines(path):
        if number == 1:
            check_first(_first(line), f"{path}:1")
        try:
            values = unseal(line)
        except MALFORMED as error:
            raise _damaged(path, number, error) from error
        yield number, place, values
    if not number:
        raise TraceError(f"{path}: the file holds no whole line; {AGAIN}")


def _first(line: bytes) -> Any:
    """Return what a first line says, whoever wrote it; None if that is nothing."""
    try:
        return parse_json(line)
    except ValueError:
        return None


class FileTexts(TextSource):
    """The texts of a file, read one at a time.

    Args:
        path: The file.
        header: Of the recording.
        index: Of each text, by name, the number of its line and where that begins in the uncompressed file.
    """

    def __init__(self, path: Path, header: Header, index: Mapping[str, tuple[int, int]]) -> None:
        self.path = path
        self._header = header
        self._index = dict(index)
        self._numbers = {number for number, _ in self._index.values()}

    def __iter__(self) -> Iterator[Text]:
        for number, _, line in lines(self.path):
            if number in self._numbers:
                yield self._text(number, line)

    def __getitem__(self, name: str) -> Text:
        """Read one text.

        Raises:
            TraceError: There is none of that name.
        """
        if name not in self._index:
            raise TraceError(f"{self.path}: there is no text {name!r}; there are {len(self._index)} others")
        expected, place = self._index[name]
        if not compressed(self.path):
            return self._text(expected, line_at(self.path, place))
        # A place in the text is none in the compressed file; what lies before it has to be read again.
        return next(self._text(number, line) for number, _, line in lines(self.path) if number == expected)

    def names(self) -> Sequence[str]:
        """Return the names in the order of the file."""
        return tuple(self._index)

    def _text(self, number: int, line: bytes) -> Text:
        try:
            return text_from_json(unseal(line), self._header)
        except MALFORMED as error:
            raise _damaged(self.path, number, error) from error


def _damaged(path: Path, number: int, error: Exception) -> TraceError:
    return TraceError(f"{path}:{number}: this line is damaged: {error!r}")
