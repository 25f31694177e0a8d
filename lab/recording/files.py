"""Files of lines, compressed with zstd where the name ends in `.zst`.

What is written at once is one zstd frame, so that a crash costs what was under way and nothing before it. Files that
other programs have compressed, in one frame or many, are read as well.
"""

from __future__ import annotations

import io
import os
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from paceline.core.environment import remedy
from paceline.core.errors import TraceError
from paceline.core.files import MIB, GrowingFile, file_errors, input_lines, open_input, printable
from paceline.lab.json_lines import LINE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from _typeshed import WriteableBuffer

SUFFIX = ".zst"
LEVEL = 9
"""Of zstd: smaller by a tenth than at the default 3, and still a few milliseconds a text."""

RATIO: Final = 1000
SPARE: Final = 64 * MIB
"""A file is unpacked to at most so many times its size and so many bytes: recordings shrink to a tenth or so, while a
few kilobytes can be made to stand for gigabytes."""

WINDOW: Final = 128 * MIB
"""Memory that unpacking may take, as zstd itself limits it by default."""

GOES_ON = "make room, then give the same command again: it goes on from the last text"


def lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield each whole line with its number, from 1, and the place in the uncompressed text where it begins.

    Every whole line ends with a newline, so what stands after the last one was cut off; it is left out.

    Raises:
        TraceError: The file cannot be read, is no zstd file though its name says so, or stands for more than is read.
    """
    number = place = 0
    broken = _zstd_errors(path)
    try:
        with open_input(path, TraceError) as raw, closing(_plain(raw, path)) as file:
            for number, line in input_lines(file, path, TraceError, most=LINE):
                if line.endswith(b"\n"):
                    yield number, place, line
                    place += len(line)
    except broken as error:
        raise TraceError(
            f"{printable(path)}:{number + 1}: the compressed data is damaged here: {error}"
        ) from error


def line_at(path: Path, place: int) -> bytes:
    """Return the line that begins at a place of an uncompressed file."""
    with open_input(path, TraceError) as file, file_errors(path, TraceError, "cannot be read"):
        file.seek(place)
        return file.readline(LINE)


class Appender:
    """Appends lines to a file, each call whole or not at all.

    Args:
        path: The file; parent folders are made.
        fresh: Whether to replace what is there.
    """

    def __init__(self, path: Path, *, fresh: bool = True) -> None:
        self.path = path
        self._compressor = zstd(path).ZstdCompressor(level=LEVEL) if compressed(path) else None
        self._file = GrowingFile(path, TraceError, keep=0 if fresh else None, remedy=GOES_ON)

    def append(self, data: bytes) -> None:
        """Write lines; they are in the file when this returns.

        Raises:
            TraceError: The disk does not allow it.
        """
        self._file.append(data if self._compressor is None else self._compressor.compress(data))

    def close(self) -> None:
        """Close the file; may be called more than once."""
        self._file.close()


def compressed(path: Path) -> bool:
    """Tell by its name whether a file is compressed."""
    return path.suffix == SUFFIX


def zstd(path: Path) -> ModuleType:
    """Return the compression library.

    Raises:
        TraceError: It is not installed.
    """
    try:
        import zstandard  # noqa: PLC0415 - files that are not compressed do without
    except ImportError:
        way = f"{remedy('lab')}, or leave {SUFFIX} out of the name"
        raise TraceError(f"{printable(path)}: compressed files need the library zstandard; {way}") from None
    return zstandard


def _plain(raw: IO[bytes], path: Path) -> IO[bytes]:
    if not compressed(path):
        return raw
    stream: Any = zstd(path).ZstdDecompressor(max_window_size=WINDOW)
    unpacked = stream.stream_reader(raw, read_across_frames=True, closefd=False)
    most = os.fstat(raw.fileno()).st_size * RATIO + SPARE
    return io.BufferedReader(_Bounded(unpacked, path, most))


class _Bounded(io.RawIOBase):
    """A stream that gives up where it stands for more than is read."""

    def __init__(self, stream: Any, path: Path, most: int) -> None:
        self._stream, self._path, self._left = stream, path, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        count: int = self._stream.readinto(buffer)
        self._left -= count
        if self._left < 0:
            raise TraceError(
                f"{printable(self._path)}: unpacks to more than {RATIO} times its size; no recording does, so this is "
                "none"
            )
        return count


def _zstd_errors(path: Path) -> tuple[type[Exception], ...]:
    return (zstd(path).ZstdError,) if compressed(path) else ()
