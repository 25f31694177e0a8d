"""Workers, one process for each engine, and the lines that go to and from them.

A request and a reply are one JSON object a line. Replies go through a pipe of their own, since libraries print what
they like. This module is read by interpreters that have nothing of paceline.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from contextlib import suppress
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

PATIENCE_S = 900.0
"""Seconds after which an engine is taken to hang: several times what the slowest prompt takes on a busy machine."""


class Request(NamedTuple):
    """A text to write.

    Attributes:
        mode: Name of the way that the engine is to decode.
        prompt: Tokens.
        tokens: The most that are written; fewer where the text ends.
        temperature: 0 is greedy.
        seed: Of what is drawn.
    """

    mode: str
    prompt: list[int]
    tokens: int
    temperature: float
    seed: int


class Reply(NamedTuple):
    """A text, and what it took from the prompt to the last token.

    Attributes:
        tokens: Without the token that ended it.
        cpu_s: CPU seconds of all threads of the process.
        wall_s: Seconds.
    """

    tokens: list[int]
    cpu_s: float
    wall_s: float


class WorkerError(Exception):
    """An engine cannot be used, or failed; says which and why."""


def serve(load: Callable[[], Callable[[Request], list[int]]], replies: int) -> None:
    """Load an engine and answer requests until there are no more; what it raises is told, and does not end it."""
    with os.fdopen(replies, "w", encoding="utf-8") as out:

        def tell(**values: Any) -> None:
            out.write(json.dumps(values) + "\n")
            out.flush()

        try:
            generate = load()
        except Exception as error:  # noqa: BLE001 - whatever a library raises is why it is left out
            tell(error=_said(error))
            return
        tell(ready=True)
        for line in sys.stdin:
            cpu, wall = process_time(), perf_counter()
            try:
                tokens = generate(Request(**json.loads(line)))
            except Exception as error:  # noqa: BLE001 - the run goes on without this mode
                tell(error=_said(error))
                continue
            tell(tokens=tokens, cpu_s=process_time() - cpu, wall_s=perf_counter() - wall)


def _said(error: BaseException) -> str:
    said = " ".join((str(error).strip() or "no message").splitlines()[:2])
    return f"{type(error).__name__}: {said[:300]}"


class Worker:
    """An engine in a process of its own.

    Args:
        name: For messages.
        command: What runs it; the number of the pipe for replies is appended.
        log: File for what it prints.
        environment: Variables beside our own.

    Raises:
        WorkerError: It could not be loaded.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._log = log
        reading, writing = os.pipe()
        self._replies = os.fdopen(reading, encoding="utf-8")
        with log.open("w") as file:
            self._process = subprocess.Popen(  # noqa: S603 - our own commands
                [*command, str(writing)],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                text=True,
                pass_fds=(writing,),
                env={**os.environ, **(environment or {})},
            )
        os.close(writing)
        try:
            self._reply()
        except BaseException:
            self.close()
            raise

    def ask(self, request: Request) -> Reply:
        """Let it write a text.

        Raises:
            WorkerError: It refused, failed, or did not answer.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request._asdict()) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None
        return Reply(**self._reply())

    def close(self) -> None:
        """Let the process end, by force where it does not."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._replies.close()

    def _reply(self) -> dict[str, Any]:
        if not select.select([self._replies], [], [], PATIENCE_S)[0]:
            raise WorkerError(
                f"{self.name}: no answer for {PATIENCE_S:.0f} s; {self._log} has what it printed"
            )
        line = self._replies.readline()
        if not line:
            raise self._ended()
        values: dict[str, Any] = json.loads(line)
        if "error" in values:
            raise WorkerError(f"{self.name}: {values['error']}")
        return values

    def _ended(self) -> WorkerError:
        # The pipe closes before the process has said its last words.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        said = self._log.read_text(errors="replace").strip().splitlines()
        return WorkerError(f"{self.name}: the process ended{': ' + said[-1] if said else ''}")
