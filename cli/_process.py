"""The process under a command: signals that ask it to stop, and standard streams that fail.

SIGTERM and SIGHUP are answered as Ctrl-C is, so that terminal, text and files are in order. Standard streams may be
closed, full or left by their reader. What should go to stdout and cannot ends the command, since it is what was asked
for. What cannot go to stderr is lost: a message is no reason to give up the work it tells of.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from _typeshed import ReadableBuffer

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

USUAL = frozenset({signal.SIG_DFL, signal.default_int_handler})
"""Handlers that are replaced. Another one, or being told to ignore the signal (`nohup`), is somebody's wish."""

WAYS = (os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)
"""Flags that stand-ins for stdin, stdout and stderr are opened with: writing to a closed stdout must go on to fail."""


class Stopped(KeyboardInterrupt):
    """The process was sent a signal that asks it to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(slots=True)
class Stops:
    """The first signal that came, if one came: an exception may get lost on its way through other people's code."""

    number: int | None = None

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Take note of a signal, and raise `Stopped`."""
        if self.number is None:
            self.number = number
        raise Stopped(number)


@contextmanager
def stops() -> Iterator[Stops]:
    """Raise `Stopped` on a signal while the block runs; outside the main thread signals stay as they are."""
    received = Stops()
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler in USUAL:
            signal.signal(number, received.handle)
    try:
        yield received
    finally:
        for number, handler in before.items():
            if handler in USUAL:
                signal.signal(number, handler)


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code of a command that was stopped: 128 + the signal's number."""
    return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)


class OutputLost(Exception):  # noqa: N818 - says what happened
    """Nothing more can be written to stdout; `gone` tells that its reader went away, which needs no words."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"stdout cannot be written: {error.strerror or error}; send it elsewhere")
        self.gone = error.errno == errno.EPIPE


def settle() -> None:
    """Let the standard streams of this process be written to as the module says."""
    for number, way in enumerate(WAYS):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file that is opened would get this number, and take what is meant for the stream.
            place = os.open(os.devnull, way)
            if place != number:
                os.dup2(place, number)
                os.close(place)
    sys.stdout = _text(_Stdout(1, "w", closefd=False), sys.stdout, "backslashreplace")
    sys.stderr = _text(_Stderr(2, "w", closefd=False), sys.stderr, "backslashreplace")


def _text(raw: io.FileIO, before: object, errors: str) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    lines = raw.isatty() or isinstance(raw, _Stderr)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors=errors, line_buffering=lines)


class _Stdout(io.FileIO):
    """Fails once; afterwards it swallows what is left in buffers."""

    lost = False

    def write(self, data: ReadableBuffer) -> int:
        if self.lost:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self.lost = True
            raise OutputLost(error) from error


class _Stderr(io.FileIO):
    """Never fails."""

    def write(self, data: ReadableBuffer) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes
