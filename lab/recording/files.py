"""Files of lines, compressed with zstd where the name ends in `.zst`.

What is written at once is one zstd frame, so that a crash costs what was under way and nothing before it. Files that
other programs have compressed, in one frame or many, are read as well.
"""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from paceline.core.errors import TraceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

SUFFIX = ".zst"
LEVEL = 9
"""Of zstd: smaller by a tenth than at the default 3, and still a few milliseconds a text."""


def lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield each whole line with its number, from 1, and the place in the uncompressed text where it begins.

    Every whole line ends with a newline, so what stands after the last one was cut off; it is left out.

    Raises:
        TraceError: The file cannot be read, or is no zstd file though its name says so.
    """
    number = place = 0
    broken = _zstd_errors(path)
    try:
        with path.open("rb") as raw, closing(_plain(raw, path)) as file:
            for line in file:
                if line.endswith(b"\n"):
                    number += 1
                    yield number, place, line
                    place += len(line)
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from error
    except broken as error:
        raise TraceError(f"{path}:{number + 1}: the compressed data is damaged here: {error}") from error


def line_at(path: Path, place: int) -> bytes:
    """Return the line that begins at a place of an uncompressed file."""
    try:
        with path.open("rb") as file:
            file.seek(place)
            return file.readline()
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from error


class Appender:
    """Appends lines to a file, each call whole or not at all.

    Args:
        path: The file; parent folders are made.
        fresh: Whether to replace what is there.
    """

    def __init__(self, path: Path, *, fresh: bool = True) -> None:
        self.path = path
        self._compressor = zstd(path).ZstdCompressor(level=LEVEL) if compressed(path) else None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = path.open("wb" if fresh else "ab")
        except OSError as error:
            raise TraceError(f"{path}: cannot be written: {error.strerror or error}") from error

    def append(self, text: str) -> None:
        """Write lines and flush them."""
        data = text.encode()
        self._file.write(data if self._compressor is None else self._compressor.compress(data))
        self._file.flush()

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
        remedy = f"pip install 'paceline[lab]', or leave {SUFFIX} out of the name"
        raise TraceError(f"{path}: compressed files need the library zstandard; {remedy}") from None
    return zstandard


def _plain(raw: IO[bytes], path: Path) -> IO[bytes]:
    if not compressed(path):
        return io.BufferedReader(raw)  # type: ignore[type-var]
    stream: Any = zstd(path).ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return io.BufferedReader(stream)


def _zstd_errors(path: Path) -> tuple[type[Exception], ...]:
    return (zstd(path).ZstdError,) if compressed(path) else ()
