"""Writes a recording text by text, and goes on with one that was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from paceline.core.files import Closing
from paceline.lab.json_lines import seal
from paceline.lab.recording.files import Appender
from paceline.lab.recording.format import (
    costs_to_json,
    header_to_json,
    measured_to_json,
    text_to_json,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.lab.recording.latency import LatencyProfile
    from paceline.lab.recording.model import Header, Measured, Recording, Text


class RecordingWriter(Closing):
    """Writes one recording; what belongs to a text reaches the file together, once the text is finished.

    Args:
        path: The file; compressed if it ends in `.zst`.
        header: The first line; its latency profile is not written, since `text` and `end` do that.
        after: How many texts are there already, to go on after the last; 0 replaces whatever is there.

    Raises:
        TraceError: The file cannot be written.
    """

    def __init__(self, path: Path | str, header: Header, *, after: int = 0) -> None:
        self._longest = header.longest
        self._texts = after
        self._file = Appender(Path(path), fresh=not after)
        if not after:
            self._file.append(seal(header_to_json(header)))

    def text(
        self,
        text: Text,
        *,
        costs: LatencyProfile | None = None,
        measured: Sequence[Measured] = (),
        extra: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Write a text, and before it what else was found meanwhile; `extra` are further lines.

        The line of the text comes last: where it is there, so is everything that belongs to it.
        """
        lines = [*extra, *map(measured_to_json, measured)]
        if costs is not None:
            lines.append(costs_to_json(costs))
        lines.append(text_to_json(text, self._longest))
        self._file.append(b"".join(map(seal, lines)))
        self._texts += 1

    def end(self, *, costs: LatencyProfile | None = None, extra: Mapping[str, Any] | None = None) -> None:
        """Write the last lines; without them the recording counts as interrupted."""
        lines = [] if costs is None else [costs_to_json(costs)]
        self._file.append(
            b"".join(map(seal, [*lines, {"kind": "end", "texts": self._texts, **(extra or {})}]))
        )

    def close(self) -> None:
        """Close the file; may be called more than once."""
        self._file.close()


def write_recording(path: Path | str, recording: Recording) -> None:
    """Write a whole recording, as of a generator, to a file.

    Raises:
        TraceError: The file cannot be written.
    """
    by_text: dict[str, list[Measured]] = {}
    for measured in recording.measured:
        by_text.setdefault(measured.text, []).append(measured)
    with RecordingWriter(path, recording.header) as writer:
        for text in recording.texts:
            writer.text(text, measured=by_text.get(text.name, ()))
        writer.end(costs=recording.header.costs)
