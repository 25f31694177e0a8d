"""Files: regular ones only, read up to a size, replaced in one step or grown by whole pieces, with errors of ours."""

from __future__ import annotations

import hashlib
import os
import stat
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from paceline.core.errors import ConfigError, PacelineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

KIB, MIB = 1 << 10, 1 << 20

ROOM = "make room or give another path"
"""Remedy where writing fails."""


def printable(path: Path | str) -> str:
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
        raise raising(f"{printable(path)}: {doing}: {error.strerror or error}{end}") from error


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
        raise raising(f"{printable(path)}: no path holds the character NUL; remove it")
    with file_errors(path, raising, "cannot be read", "check its permissions"):
        try:
            # Asked before it is opened: opening some devices does something.
            what = not_regular(os.stat(path).st_mode)  # noqa: PTH116 - paths may be text
        except FileNotFoundError:
            raise raising(f"{printable(path)}: no such file; {missing}") from None
        if what is not None:
            raise raising(f"{printable(path)}: {what}")
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
        raise raising(
            f"{printable(path)}: has more than {size(most)}, the most that is read here; shorten it"
        )
    return data


def read_text(
    path: Path | str, raising: type[PacelineError], *, most: int, missing: str = "check the name"
) -> str:
    """Return the text of a regular file of at most `most` bytes in UTF-8; a byte order mark is dropped.

    Raises:
        raising: As `read_input`; or the file is not UTF-8.
    """
    return decoded(read_input(path, raising, most=most, missing=missing), printable(path), raising)


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
                f"{printable(path)}:{number}: this line has more than {size(most)}, the most that is read here; is "
                "this the right file?"
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


def check_output(
    path: Path | str, raising: type[PacelineError] = ConfigError, *, inputs: Iterable[Path | str] = ()
) -> None:
    """Refuse a path that no regular file can be written to, before anything is done for it.

    Args:
        path: The file; it and its folders need not be there yet.
        raising: The class of errors.
        inputs: Files that are read, and must not be written over.

    Raises:
        raising: It is a folder, a device or a pipe, lies in what is no folder, may not be written, or is an input.
    """
    if "\0" in str(path):
        raise raising(f"{printable(path)}: no path holds the character NUL; remove it")
    path = Path(path)
    with file_errors(path, raising, "cannot be written", "give another path"):
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            _check_folder(path, raising)
            return
        what = not_regular(status.st_mode)
        if what is not None:
            raise raising(f"{printable(path)}: {what}")
        if not os.access(path, os.W_OK):
            raise raising(
                f"{printable(path)}: may not be written; change its permissions or give another path"
            )
        for source in inputs:
            if Path(source).exists() and os.path.samestat(status, Path(source).stat()):
                raise raising(
                    f"{printable(path)}: is also read here ({printable(source)}), and would be written over; give "
                    "another path"
                )


def _check_folder(path: Path, raising: type[PacelineError]) -> None:
    """Refuse a file that is not there yet where it cannot be made."""
    place = Path(os.path.realpath(path)) if path.is_symlink() else path
    folder = next(parent for parent in place.parents if parent.exists())
    if not folder.is_dir():
        raise raising(f"{printable(path)}: {printable(folder)} is no folder; give another path")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise raising(
            f"{printable(path)}: nothing may be written in {printable(folder)}; change its permissions or give another "
            "path"
        )


def write_text(path: Path | str, text: str, raising: type[PacelineError] = PacelineError) -> None:
    """Write a file in one step: what is there is replaced by all of the text or stays.

    Raises:
        raising: As `replacing`.
    """
    with replacing(path, raising) as new:
        new.write_bytes(text.encode())


@contextmanager
def replacing(path: Path | str, raising: type[PacelineError]) -> Iterator[Path]:
    """Give the path of an empty file to be written, which takes the place of `path` if the block ends well.

    Folders are made, a link is followed, and the permissions of a file that is replaced are kept.

    Raises:
        raising: The path or the disk does not allow it; names it and says what to do.
    """
    check_output(path, raising)
    # Replacing a link would leave the file that it leads to as it was.
    place = Path(os.path.realpath(path))
    # What a killed process left there is in nobody's way, and neither is a link that somebody laid there.
    new = place.with_name(f".{place.name}.new")
    with file_errors(path, raising, "cannot be written", ROOM):
        place.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        new.touch(exist_ok=False)
        try:
            yield new
            with new.open("rb") as file:
                os.fsync(file.fileno())
            if place.exists():
                new.chmod(place.stat().st_mode & 0o7777)
            os.replace(new, place)  # noqa: PTH105 - the one step that readers see
        except BaseException:
            with suppress(OSError):
                new.unlink()
            raise


class Closing(ABC):
    """A base for what has a `close`: its `with` block closes it, however it is left."""

    @abstractmethod
    def close(self) -> None:
        """Free what is held; may be called more than once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trail: TracebackType | None
    ) -> None:
        self.close()


class GrowingFile(Closing):
    """A file that grows by pieces, each of them whole or not at all; a process that is killed may cut the last one.

    Args:
        path: The file; its folders are made.
        raising: The class of errors.
        keep: Bytes of what is there that are kept; None keeps all, 0 begins anew.
        remedy: What to do where writing fails.

    Raises:
        raising: The path or the disk does not allow it; names it and says what to do.
    """

    def __init__(
        self, path: Path | str, raising: type[PacelineError], *, keep: int | None = 0, remedy: str = ROOM
    ) -> None:
        check_output(path, raising)
        self.path, self._raising, self._remedy = Path(path), raising, remedy
        with self._errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # What is there is cut only once it is known to be a regular file, and a pipe that has taken its place since
            # makes nobody wait.
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            self._file: int | None = os.open(self.path, flags, 0o666)
            try:
                self._size = os.fstat(self._file).st_size if keep is None else keep
                os.ftruncate(self._file, self._size)
                os.lseek(self._file, self._size, os.SEEK_SET)
            except BaseException:
                self.close()
                raise

    def append(self, data: bytes) -> None:
        """Write a piece; if that fails, what was written of it is taken back.

        Raises:
            raising: The disk does not allow it, or the file is closed.
        """
        if self._file is None:
            raise self._raising(f"{printable(self.path)}: the file is closed already")
        with self._errors():
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(self._file, rest) :]
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(self._file, self._size)
                    os.lseek(self._file, self._size, os.SEEK_SET)
                raise
            self._size += len(data)

    def close(self) -> None:
        """Close the file; may be called more than once.

        Raises:
            raising: What was written did not reach the disk.
        """
        file, self._file = self._file, None
        if file is not None:
            with self._errors():
                os.close(file)

    def _errors(self) -> AbstractContextManager[None]:
        return file_errors(self.path, self._raising, "cannot be written", self._remedy)


def private_folder(name: str) -> Path:
    """Return a folder of the user's cache, made if need be: `$XDG_CACHE_HOME/paceline`, or `~/.cache/paceline`.

    Args:
        name: Of the folder inside it.

    Raises:
        OSError: There is none, or others can write to it.
    """
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paceline"
    except RuntimeError as error:  # a user without a home
        raise OSError(str(error)) from None
    folder = base / name
    for each in (base, folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = each.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(f"{each} must be a folder of this user that nobody else can write to")
    return folder
