"""Standard streams that may be closed, full or left by their reader.

What should go to stdout and cannot ends the command, since it is what was asked for. What cannot go to stderr is lost:
a message is no reason to give up the work it tells of.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

WAYS = (os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)
"""How what stands in for stdin, stdout and stderr is opened: writing to a closed stdout must go on to fail."""


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
