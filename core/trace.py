"""Traces: finished rounds as JSON lines, written round by round and readable after a crash.

One object a line. The first says what ran; then, for each request, one `request` line, its `round` lines and an
`end` line. Requests may interleave; each line names its request. The prompt is identified by a hash, not stored.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from paceline.core.errors import INTERRUPTS, PacelineError, TraceError, short_repr
from paceline.core.files import MIB, Closing, GrowingFile, input_lines, open_input, printable
from paceline.core.forking import register_forkable
from paceline.core.json_text import parse_json
from paceline.core.log import log
from paceline.core.records import Capabilities, Ended, Round
from paceline.core.round_json import round_from_json, round_to_json

if TYPE_CHECKING:
    from paceline.core.loop import Request
    from paceline.core.protocols import Draft


T = TypeVar("T")

VERSION = 1
"""Raised when a reader of the old version would misread a new trace; new keys alone do not raise it."""

SERVING = "serving"
"""Form of a trace whose first line does not say `form`: rounds as they were decided."""

MAX_LINE_BYTES = 16 * MIB
"""The longest line that is read: a round has some kilobytes."""


class TraceWriter(Closing):
    """Appends requests and their rounds to a file; each round is flushed before the next begins.

    Args:
        path: The file; parent folders are made. An existing file is replaced, but what this writer wrote before it was
            closed is kept and added to. A process that is forked off writes a file of its own beside it, its process
            number in the name, and nothing of requests that began before.
        header: What ran: any JSON-able values, kept under "run" in the first line.
    """

    def __init__(self, path: Path | str, header: Mapping[str, Any] | None = None) -> None:
        self._given = self.path = Path(path)
        self._header = dict(header or {})
        self._file: GrowingFile | None = None
        self._requests = 0
        self.process = os.getpid()
        register_forkable(self)

    def forked(self) -> None:
        """Leave the file to the parent: lines of two processes in one file could not be told apart."""
        self.process = os.getpid()
        self.path = self._given.with_stem(f"{self._given.stem}-{self.process}")
        file, self._file, self._requests = self._file, None, 0
        if file is not None:
            file.close()

    def begin(
        self,
        prompt: Sequence[int],
        max_new_tokens: int,
        *,
        drafts: Mapping[str, Draft] | None = None,
        capabilities: Capabilities | None = None,
        memoryless: frozenset[str] = frozenset(),
        perplexity: float | None = None,
    ) -> RequestRecorder:
        """Start a request and return what records its rounds. The file is made at the first request.

        What the policy could see besides, `drafts`, `capabilities` and `perplexity`, lets a replay check its decisions;
        which drafts are `memoryless` (see `Memoryless`) lets it answer more questions.

        Raises:
            TraceError: The file cannot be written, or is there and no trace.
        """
        if self._file is None and self._requests:
            self._file = GrowingFile(self.path, TraceError, keep=None)  # closed, and now used again
        elif self._file is None:
            check_replaceable(self.path)
            self._file = GrowingFile(self.path, TraceError)
            self.write({"kind": "trace", "version": VERSION, "run": self._header})
        number = self._requests
        self._requests += 1
        self.write(
            {
                "kind": "request",
                "request": number,
                "prompt_tokens": len(prompt),
                "prompt_sha256": prompt_sha256(prompt),
                "max_new_tokens": max_new_tokens,
            }
            | _seen(drafts, capabilities, memoryless, perplexity)
        )
        return RequestRecorder(self, number, self.process)

    def write(self, line: Mapping[str, Any]) -> None:
        """Write one line; it is in the file when this returns.

        Raises:
            TraceError: The file cannot be written, or the line is not JSON-able.
        """
        if self._file is None:
            raise TraceError(f"{self.path}: the trace is closed")
        try:
            text = json.dumps(line, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise TraceError(
                f"{printable(self.path)}: a line of the trace is not JSON-able: {error}"
            ) from error
        self._file.append(text.encode() + b"\n")

    def close(self) -> None:
        """Close the file; harmless when nothing was written or it is closed already.

        Raises:
            TraceError: What was written did not reach the disk.
        """
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass(frozen=True, slots=True)
class RequestRecorder:
    """Writes the rounds of one request."""

    writer: TraceWriter
    number: int
    process: int

    def round(self, done: Round) -> None:
        """Write one finished round."""
        self._write({"kind": "round", "request": self.number, **round_to_json(done)})

    def end(self, ended: Ended | None) -> None:
        """Write the end of the request; None means that it was abandoned."""
        self._write({"kind": "end", "request": self.number, "ended": ended})

    def _write(self, line: Mapping[str, Any]) -> None:
        if self.process == self.writer.process:  # else it is the parent's request
            self.writer.write(line)


class Tracing:
    """A decoder's way to its trace.

    Under `fallback` the first failure is logged and nothing is written from then on: what comes after a line that was
    cut off could not be read. Otherwise it raises `TraceError`.
    """

    def __init__(self, writer: TraceWriter | None, *, fallback: bool) -> None:
        self._writer = writer
        self._fallback = fallback

    @contextmanager
    def request(self, request: Request, drafts: Mapping[str, Draft]) -> Iterator[Callable[[Round], None]]:
        """Write how a request begins, give what writes a round, and write its end, be it that it was abandoned."""
        recorder = self._attempt(
            lambda writer: writer.begin(
                request.prompt,
                request.limits.max_new_tokens,
                drafts=drafts,
                capabilities=request.capabilities,
                memoryless=request.drafts.memoryless(),
                perplexity=request.perplexity,
            )
        )
        if recorder is None:
            yield lambda _done: None
            return
        try:
            yield lambda done: self._attempt(lambda _writer: recorder.round(done))
        except TraceError:  # a line was cut off
            raise
        except BaseException:
            self._attempt(lambda _writer: recorder.end(request.ended))
            raise
        self._attempt(lambda _writer: recorder.end(request.ended))

    def close(self) -> None:
        """Close the file."""
        self._attempt(lambda writer: writer.close())

    def _attempt(self, write: Callable[[TraceWriter], T]) -> T | None:
        """Return what writing answers; None where nothing is written, or the trace is given up."""
        writer = self._writer
        if writer is None:
            return None
        try:
            return write(writer)
        except INTERRUPTS:
            raise
        except BaseException as error:
            if not self._fallback:
                if isinstance(error, PacelineError):
                    raise
                raise TraceError(
                    f"{writer.path}: the trace cannot be written: {short_repr(error)}"
                ) from error
            log.warning(
                "trace_failed",
                file=str(writer.path),
                error=short_repr(error),
                action="going on without a trace",
            )
            self._writer = None
            return None


@dataclass(slots=True)
class TracedRequest:
    """One request of a trace.

    Attributes:
        info: What its `request` line says.
        rounds: Its finished rounds.
        ended: Why it ended, or None when it was abandoned or the trace breaks off.
        complete: Whether its `end` line was written.
    """

    info: dict[str, Any]
    rounds: list[Round] = field(default_factory=list)
    ended: Ended | None = None
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace in memory: what ran, and its requests in the order they began."""

    run: dict[str, Any]
    requests: list[TracedRequest]


def read_trace(path: Path | str) -> Trace:
    """Read a trace; a last line cut off by a crash is left out.

    Raises:
        TraceError: The file is missing, no trace, of another version, or damaged before its last line.
    """
    path = Path(path)
    run: dict[str, Any] = {}
    requests: dict[int, TracedRequest] = {}
    for number, line in trace_lines(path):
        if number == 1:
            run = line.get("run", {})
            continue
        try:
            _take(line, requests)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TraceError(f"{path}:{number}: this line is damaged: {error!r}") from error
    return Trace(run, list(requests.values()))


def trace_lines(path: Path | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the lines of a trace with their numbers from 1, one at a time, so that its length does not matter.

    Raises:
        TraceError: As `read_trace`, for what can be seen line by line.
    """
    path, whole = Path(path), 0
    with open_input(path, TraceError) as file:
        for number, line in input_lines(file, path, TraceError, most=MAX_LINE_BYTES):
            # Every whole line ends with a newline, so what stands after the last one was cut off.
            if line.endswith(b"\n"):
                whole = number
                try:
                    values = parse_json(line)
                except ValueError as error:
                    problem = "is not a paceline trace" if number == 1 else f"line is damaged: {error!r}"
                    raise TraceError(f"{path}:{number}: this {problem}") from error
                yield number, _header(path, values) if number == 1 else values
    if not whole:
        raise TraceError(f"{path}: the trace is empty; was the run stopped before its first request?")


def _seen(
    drafts: Mapping[str, Draft] | None,
    capabilities: Capabilities | None,
    memoryless: frozenset[str],
    perplexity: float | None,
) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    if drafts is not None:
        seen["drafts"] = {
            name: {"signals": sorted(draft.signals), "memoryless": name in memoryless}
            for name, draft in drafts.items()
        }
    if capabilities is not None:
        seen["capabilities"] = {**asdict(capabilities), "signals": sorted(capabilities.signals)}
    if perplexity is not None:
        seen["perplexity"] = perplexity
    return seen


def prompt_sha256(prompt: Sequence[int]) -> str:
    """Return what a prompt is known by: the hash of its tokens as a JSON list."""
    return hashlib.sha256(json.dumps(list(prompt)).encode()).hexdigest()


def check_replaceable(path: Path) -> None:
    """Refuse to write a trace over a file that holds something else.

    Raises:
        TraceError: There is such a file.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    with open_input(path, TraceError) as file:
        first = file.readline(MAX_LINE_BYTES)
    try:
        header = parse_json(first)
        ours = header["kind"] == "trace" and header.get("form", SERVING) == SERVING
    except (ValueError, KeyError, TypeError, AttributeError):
        ours = False
    if not ours:
        raise TraceError(
            f"{printable(path)}: holds something that is no trace, and would be lost; give another path or remove it"
        )


def _header(path: Path, header: Any) -> dict[str, Any]:
    """Return the first line of a trace, checked."""
    if not isinstance(header, dict) or header.get("kind") != "trace" or header.get("version") is None:
        raise TraceError(f"{path}:1: this is not a paceline trace")
    if header.get("form", SERVING) != SERVING:
        raise TraceError(
            f"{path}:1: this is a {header['form']}, which holds what drafts would have done; "
            "a serving trace, of rounds as they were decided, is expected here"
        )
    if header["version"] != VERSION:
        raise TraceError(
            f"{path}:1: trace version {header['version']}; this paceline reads version {VERSION}"
        )
    return header


def _take(line: dict[str, Any], requests: dict[int, TracedRequest]) -> None:
    kind = line["kind"]
    if kind == "request":
        requests[line["request"]] = TracedRequest(info=line)
    elif kind == "round":
        requests[line["request"]].rounds.append(round_from_json(line))
    elif kind == "end":
        request = requests[line["request"]]
        request.ended, request.complete = line["ended"], True
