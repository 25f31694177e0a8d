"""Going on with a recording that was interrupted, or that has fewer texts than are asked for, if it is the same run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from paceline.core.errors import TraceError
from paceline.core.files import check_output, file_errors
from paceline.lab.recording.files import Appender, compressed, lines, zstd
from paceline.lab.recording.format import MALFORMED, header_to_json
from paceline.lab.recording.latency_fit import Timing
from paceline.lab.recording.reader import parsed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from paceline.lab.recording.model import Header

REMEDY = "use --force to replace it, or -o for another file"

COUNT = "prompts"
"""Number of prompts that earlier versions wrote into the first line; a run with more of them is the same run."""


@dataclass(slots=True)
class Kept:
    """Content of a recording that goes on.

    Attributes:
        prompts: The hash of each text's prompt, by the text's name.
        timings: Of all its rounds.
        part: Of how many runs of the recorder it is made.
        last: The number of the line that its last whole text ends with.
    """

    prompts: dict[str, str] = field(default_factory=dict)
    timings: list[Timing] = field(default_factory=list)
    part: int = 0
    last: int = 0


def finished(path: Path, names: Collection[str] = ()) -> bool:
    """Tell whether a file is a recording that came to its end, with texts of all these names in it.

    Raises:
        ConfigError: No file can be written there.
        TraceError: There is a file, and it is something else. Or the library for this kind of file is not installed.
    """
    check_output(path)
    if compressed(path):
        zstd(path)
    ended, texts = False, set[str]()
    try:
        for _, _, values in _lines(path):
            ended |= values.get("kind") == "end"
            if values.get("kind") == "text":
                texts.add(str(values.get("name")))
    except TraceError as error:
        raise TraceError(f"{error}; {REMEDY}") from error
    return ended and texts.issuperset(names)


def kept(path: Path, header: Header) -> Kept:
    """Return what a recording of the same run holds, if there is one.

    Raises:
        TraceError: The file is a recording of another run, or damaged.
    """
    content, waiting = Kept(), list[dict[str, Any]]()
    for number, _, values in _lines(path):
        if number == 1:
            _compare(path, values, header_to_json(header))
            continue
        waiting.append(values)
        try:
            if values["kind"] == "text":
                for line in waiting:
                    _take(content, line)
                waiting.clear()
                content.last = number
        except MALFORMED as error:
            raise TraceError(f"{path}:{number}: this line is damaged: {error!r}; {REMEDY}") from error
    return content


def trim(path: Path, last: int) -> None:
    """Cut a file after a line, so that more can be appended; what was cut off amid a line goes as well.

    Raises:
        TraceError: It cannot be written.
    """
    whole = Appender(path.with_name(f"part-{path.name}"))
    try:
        for _, _, line in islice(lines(path), last):
            whole.append(line)
    finally:
        whole.close()
    with file_errors(path, TraceError, "cannot be written"):
        whole.path.replace(path)


def _lines(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield the lines of a file, if there is one with any."""
    if _there(path):
        yield from parsed(path)


def _there(path: Path) -> bool:
    with file_errors(path, TraceError, "cannot be read"):
        return path.exists() and path.stat().st_size > 0


def _take(content: Kept, values: Mapping[str, Any]) -> None:
    if values["kind"] == "text":
        content.prompts[values["name"]] = values["prompt_sha256"]
    elif values["kind"] == "timings":
        content.timings += map(Timing.from_json, values["rounds"])
    elif values["kind"] == "measured":
        content.part = max(content.part, values["part"] + 1)


def _compare(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with another run."""
    now = json.loads(json.dumps(now))
    keys = [key for key in ("longest", "mode", "drafts") if before.get(key) != now[key]]
    earlier, later = before.get("run", {}), now["run"]
    keys += [key for key in sorted({*earlier, *later} - {COUNT}) if earlier.get(key) != later.get(key)]
    if keys:
        raise TraceError(
            f"{path}: a recording is there, but of another run: {', '.join(keys)} differ; {REMEDY}"
        )
