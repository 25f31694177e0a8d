"""Reading files that somebody else may have written: regular files only, no more than is allowed, errors of ours."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import contextmanager
from io import BufferedReader
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from paceline.core.errors import PacelineError

KIB, MIB = 1 << 10, 1 << 20


def shown(path: Path | str) -> str:
    """Return a path as messages show it: as it is, or escaped where it could not be printed."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def not_regular(mode: int) -> str | None:
    """Return what a file is that is no regular file, as the end of a sentence; None for a regular file."""
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISDIR(mode):
        return "is a folder; name a file"
    return "is a device, a pipe or a socket; name a regular file"


@contextmanager
def file_errors(
    path: Path | str, raising: type[PacelineError], doing: str, remedy: str = ""
) -> Iterator[None]:
    """Turn what the system refuses within the block into an error of ours, "PATH: DOING: reason; remedy"."""
    end = f"; {remedy}" if remedy else ""
    try:
        yield
    except OSError as error:
        raise raising(f"{shown(path)}: {doing}: {error.strerror or error}{end}") from error


def open_input(
    path: Path | str, raising: type[PacelineError], *, missing: str = "check the name"
) -> BufferedReader:
    """Open a regular file to be read; a device or a pipe is refused, for it may never end.

    Args:
        path: The file.
        raising: The class of errors.
        missing: What to do where there is no such file.

    Raises:
        raising: The file cannot be read; names it and says what to do.
    """
    if "\0" in str(path):
        raise raising(f"{shown(path)}: no path holds the character NUL; remove it")
    with file_errors(path, raising, "cannot be read", "check its permissions"):
        try:
            # Asked before it is opened: opening some devices does something.
            what = not_regular(os.stat(path).st_mode)  # noqa: PTH116 - paths may be text
        except FileNotFoundError:
            raise raising(f"{shown(path)}: no such file; {missing}") from None
        if what is not None:
            raise raising(f"{shown(path)}: {what}")
        return open(path, "rb", opener=_opener)


def _opener(path: str, flags: int) -> int:
    # Without blocking, in case that a pipe has taken the file's place since.
    return os.open(path, flags | os.O_NONBLOCK)


def read_input(
    path: Path | str, raising: type[PacelineError], *, most: int, missing: str = "check the name"
) -> bytes:
    """Return the content of a regular file of at most `most` bytes.

    Raises:
        raising: The file cannot be read or is larger; names it and says what to do.
    """
    with open_input(path, raising, missing=missing) as file, file_errors(path, raising, "cannot be read"):
        data = file.read(most + 1) or b""
    if len(data) > most:
        raise raising(f"{shown(path)}: has more than {size(most)}, the most that is read here; shorten it")
    return data


def read_text(
    path: Path | str, raising: type[PacelineError], *, most: int, missing: str = "check the name"
) -> str:
    """Return the text of a regular file of at most `most` bytes in UTF-8; a byte order mark is dropped.

    Raises:
        raising: As `read_input`; or the file is not UTF-8.
    """
    return decoded(read_input(path, raising, most=most, missing=missing), shown(path), raising)


def decoded(data: bytes, name: str, raising: type[PacelineError]) -> str:
    """Return bytes as text; `name` is what messages call their source.

    Raises:
        raising: They are not UTF-8; names the line and the byte.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise raising(f"{name}:{line}: not UTF-8 (byte {error.start}); save it in that encoding") from None


def input_lines(
    file: IO[bytes], path: Path | str, raising: type[PacelineError], *, most: int
) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with their numbers, from 1, each with its end; only the last may lack that.

    Raises:
        raising: The file cannot be read, or a line has more than `most` bytes.
    """
    number = 0
    while True:
        with file_errors(path, raising, "cannot be read"):
            line = file.readline(most + 1)
        if not line:
            return
        number += 1
        if len(line) > most:
            raise raising(
                f"{shown(path)}:{number}: this line has more than {size(most)}, the most that is read here; is this "
                "the right file?"
            )
        yield number, line


def sha256(path: Path | str, raising: type[PacelineError]) -> str:
    """Return the SHA-256 of a regular file, in hexadecimal digits.

    Raises:
        raising: The file cannot be read.
    """
    with open_input(path, raising) as file, file_errors(path, raising, "cannot be read"):
        return hashlib.file_digest(file, "sha256").hexdigest()


def size(count: int) -> str:
    """Return a number of bytes for readers."""
    return f"{count // MIB} MiB" if count >= MIB else f"{count // KIB} KiB"
