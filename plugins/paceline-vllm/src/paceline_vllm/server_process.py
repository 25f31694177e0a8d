"""vLLM's server as a child of the command: it gets the command's signals, and its fault is the command's last line.

What a worker or engine process died of stands in the middle of some hundred lines; the last ones say that something
died.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import IO

from paceline import BackendError
from paceline_vllm.admission import CLOSING

SET_PDEATHSIG = 1
RAISED = re.compile(r"(?:^|\s)((?:\w+\.)*\w*(?:Error|Exception)\b: .*)$")
"""End of a traceback, behind the prefixes of vLLM's log."""
ELSEWHERE = re.compile(r"\bSee (?:root cause|stack trace)")
"""Words of processes about one that they started: the cause stands before."""


def run_server(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run a server until it ends.

    Raises:
        BackendError: It failed; says what it died of.
    """
    closing, close = os.pipe()
    with subprocess.Popen(  # noqa: S603 - the command is ours
        command,
        env={**environment, CLOSING: str(closing)},
        pass_fds=[closing],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_end_with_parent,  # noqa: PLW1509 - no thread runs yet
    ) as process:

        def forward(number: int, _frame: FrameType | None) -> None:
            os.write(close, b".")
            if number != signal.SIGINT:  # Ctrl-C reaches the child by itself, as one of the terminal's group
                process.send_signal(number)

        before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            assert process.stdout is not None
            cause = copy_output(process.stdout, sys.stdout.buffer)
            code = process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(close)
            os.close(closing)
    if code:
        raise BackendError(f"vLLM's server ended with code {code}" + (f": {cause}" if cause else ""))


def copy_output(source: Iterable[bytes], to: IO[bytes]) -> str | None:
    """Copy lines as they come, and return the last error that is in them; one that names no other if there is one."""
    cause = last = None
    for line in source:
        with suppress(OSError):  # nobody reads on; the server goes on
            to.write(line)
            to.flush()
        if raised := RAISED.search(line.decode(errors="replace").rstrip()):
            last = raised[1]
            cause = cause if ELSEWHERE.search(last) else last
    return cause or last


def _end_with_parent() -> None:
    """Let the kernel end the server when this command is killed; runs in the child."""
    ctypes.CDLL(None).prctl(SET_PDEATHSIG, signal.SIGTERM)
