"""Writing files: the path is checked, a file is replaced in one step or grows by whole pieces, errors are ours."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from paceline.core.errors import ConfigError, PacelineError
from paceline.core.inputs import file_errors, not_regular, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

ROOM = "make room or give another path"
"""What to do where writing fails."""


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
        raise raising(f"{shown(path)}: no path holds the character NUL; remove it")
    path = Path(path)
    with file_errors(path, raising, "cannot be written", "give another path"):
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            _check_folder(path, raising)
            return
        what = not_regular(found.st_mode)
        if what is not None:
            raise raising(f"{shown(path)}: {what}")
        if not os.access(path, os.W_OK):
            raise raising(f"{shown(path)}: may not be written; change its permissions or give another path")
        for one in inputs:
            if Path(one).exists() and os.path.samestat(found, Path(one).stat()):
                raise raising(
                    f"{shown(path)}: is also read here ({shown(one)}), and would be written over; give another path"
                )


def _check_folder(path: Path, raising: type[PacelineError]) -> None:
    """Refuse a file that is not there yet where it cannot be made."""
    place = Path(os.path.realpath(path)) if path.is_symlink() else path
    folder = next(one for one in place.parents if one.exists())
    if not folder.is_dir():
        raise raising(f"{shown(path)}: {shown(folder)} is no folder; give another path")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise raising(
            f"{shown(path)}: nothing may be written in {shown(folder)}; change its permissions or give another path"
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


class GrowingFile:
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
            raise self._raising(f"{shown(self.path)}: the file is closed already")
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trail: TracebackType | None
    ) -> None:
        self.close()
