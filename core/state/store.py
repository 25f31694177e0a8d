"""`StateStore`: JSON documents by key, in an SQLite file that threads and processes use at once.

Every call is a transaction on a connection of its own, so nothing is held between calls. The journal is SQLite's
rollback journal, not its write-ahead log: writes are few and small, nobody waits for longer than one, and what is at
rest is a single file that can be copied. A process that is killed while it writes leaves a journal, from which the next
one to open the file restores what was there. A file that is damaged all the same is set aside under another name.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from threading import RLock
from typing import Any, Final, TypeVar

from paceline.core.errors import PacelineError
from paceline.core.files import MIB, ROOM, check_output, file_errors, not_regular, printable, size
from paceline.core.json_text import parse_json
from paceline.core.log import log

T = TypeVar("T")

APPLICATION_ID: Final = int.from_bytes(b"pace")
"""Stands in the header of the file, and tells it from other programs' databases."""

VERSION: Final = 2
"""Raised when a reader of the old version would misread a new file. Version 1 was JSON, up to 0.1."""

HEADER: Final = {"application_id": APPLICATION_ID, "user_version": VERSION}

TABLES: Final = (
    "CREATE TABLE documents (key TEXT PRIMARY KEY, document TEXT NOT NULL)",
    "CREATE TABLE refused (key TEXT NOT NULL, document TEXT NOT NULL, UNIQUE (key, document))",
)
MAX_BYTES: Final = 32 * MIB
"""Bytes of a state file: a policy keeps some kilobytes for each pair of models."""

PAGE_BYTES: Final = 4096

BUSY_TIMEOUT_S = 10.0
"""Seconds to wait for another process that writes; writing takes milliseconds."""

CONVERT: Final = "`python -m paceline.core.state.convert OLD NEW` copies what it holds into a new file"
AWAY: Final = "name another file, or move this one away"

PROBLEMS: Final = {
    sqlite3.SQLITE_NOTADB: ("is no state file", AWAY),
    sqlite3.SQLITE_CORRUPT: ("is damaged, and no state file that this paceline reads", AWAY),
    sqlite3.SQLITE_BUSY: (
        "is in use by another process that does not let go of it",
        "end that process, or wait",
    ),
    sqlite3.SQLITE_READONLY: ("may not be written", "change its permissions or those of its folder"),
    sqlite3.SQLITE_FULL: (
        f"has no room: the disk is full, or it would have more than {size(MAX_BYTES)}",
        ROOM,
    ),
}
"""Faults of a file and their remedies, by SQLite's code of the error."""

DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
SQLITE_MAGIC: Final = b"SQLite format 3\0"
HEADER_BYTES: Final = 100
"""Of an SQLite file: at 60 the user version, at 68 the application id (https://www.sqlite.org/fileformat2.html)."""

LOCKED_BYTES: Final = (0x40000000, 512)
"""Place and number of the bytes that SQLite locks in a file (https://www.sqlite.org/lockingv3.html). While one process
holds them all for itself, no other is within a transaction."""

ATTEMPTS: Final = 8
"""At a transaction: each but the last ended because another file stands in the path's place now."""

# A process must not be forked while one of its threads is inside SQLite, whose own locks nobody could release there.
_in_use = RLock()
os.register_at_fork(before=_in_use.acquire, after_in_parent=_in_use.release, after_in_child=_in_use.release)


class StateStore:
    """Documents by key in one file.

    A damaged file is renamed to `NAME.damaged-1`, or the next number that is free, with a warning; then all goes on as
    if there were none.

    Args:
        path: The file; it and its folder are made when something is first written. A link is followed.

    Raises:
        PacelineError: From every method: the file cannot be used; names it and says what to do.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(os.path.realpath(path))

    def check(self) -> None:
        """Refuse a file of another version, or that is no state file at all; nothing is changed."""
        with suppress(_DamagedError):
            self._attempt("BEGIN", lambda _database: None)

    def repair(self) -> None:
        """Set the file aside if any page of it is damaged."""

        def check_pages(database: sqlite3.Connection) -> None:
            ((answer,),) = database.execute("PRAGMA quick_check(1)")
            if answer != "ok":
                error = sqlite3.DatabaseError(answer)
                error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                raise error

        self._run("BEGIN", check_pages)

    def keys(self) -> list[str]:
        """Return the keys of all documents, sorted."""

        def select(database: sqlite3.Connection) -> list[str]:
            return [key for (key,) in database.execute("SELECT key FROM documents ORDER BY key")]

        return self._run("BEGIN", select) or []

    def read(self, key: str) -> Any:
        """Return the document of a key; None if there is none.

        Raises:
            ValueError: What stands there is no JSON, or holds numbers out of all bounds.
        """
        text = self._run("BEGIN", lambda database: _text(database, key))
        return None if text is None else parse_json(text)

    def update(self, key: str, change: Callable[[Any], Any]) -> Any:
        """Replace the document of a key by what `change` makes of it; nobody else writes meanwhile.

        Args:
            key: Of the document; all others stay as they are.
            change: Shown the document there is, or None. Where it is of no use, `change` raises ValueError: then it
                is set aside in the table `refused`, as what is no JSON is, and `change` is shown None.

        Returns:
            The new document.

        Raises:
            ValueError: The new document is not JSON-able, or `change` raises it though there is nothing.
        """

        def replace(database: sqlite3.Connection) -> Any:
            text = _text(database, key)
            try:
                document = change(None if text is None else parse_json(text))
            except ValueError:
                if text is None:
                    raise
                database.execute(
                    "INSERT OR IGNORE INTO refused SELECT key, document FROM documents WHERE key = ?", (key,)
                )
                document = change(None)
            database.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?)", (key, json.dumps(document, allow_nan=False))
            )
            database.execute("COMMIT")
            return document

        check_output(self.path, PacelineError)
        with file_errors(self.path, PacelineError, "cannot be written", ROOM):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        return self._run("BEGIN IMMEDIATE", replace, make=True)

    def remove(self, key: str) -> None:
        """Remove a document, if it is there."""

        def delete(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM documents WHERE key = ?", (key,))
            database.execute("COMMIT")

        self._run("BEGIN IMMEDIATE", delete)

    def _run(self, begin: str, act: Callable[[sqlite3.Connection], T], *, make: bool = False) -> T | None:
        """Return what `act` answers within a transaction, of a new file if the one that is there is damaged."""
        for _ in range(ATTEMPTS):
            try:
                return self._attempt(begin, act, make=make)
            except _DamagedError as damage:
                self._set_aside(damage)
                reason = damage.reason
        raise PacelineError(f"{printable(self.path)}: is damaged again and again ({reason}); {AWAY}")

    def _attempt(self, begin: str, act: Callable[[sqlite3.Connection], T], *, make: bool = False) -> T | None:
        """Return what `act` answers within a transaction, which is rolled back unless it commits.

        None where there is no file with something in it, unless one is to be made.

        Raises:
            _DamagedError: The file is one of ours and damaged, or was set aside by another process just now.
        """
        with _in_use:
            status = self._status()
            if not make and (status is None or not status.st_size):
                return None
            try:
                with closing(sqlite3.connect(self.path, BUSY_TIMEOUT_S, isolation_level=None)) as database:
                    database.execute("PRAGMA trusted_schema = OFF")
                    database.execute(f"PRAGMA max_page_count = {MAX_BYTES // PAGE_BYTES}")
                    database.execute(begin)
                    self._check_kind(database)
                    return act(database)
            except sqlite3.Error as error:
                code = getattr(error, "sqlite_errorcode", 0)
                moved = code == sqlite3.SQLITE_READONLY_DBMOVED
                if moved or (code & 0xFF in DAMAGE and self._is_ours()):
                    raise _DamagedError(str(error), status) from error
                raise self._problem(code & 0xFF, str(error)) from error

    def _status(self) -> os.stat_result | None:
        """Return facts about the file, None where there is none; refuse what is no file, or too large."""
        with file_errors(self.path, PacelineError, "cannot be read"):
            try:
                status = self.path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        problem = not_regular(status.st_mode)
        if problem is None and status.st_size > MAX_BYTES:
            problem = f"has more than {size(MAX_BYTES)}, the most that is read here; {AWAY}"
        if problem is not None:
            raise PacelineError(f"{printable(self.path)}: {problem}")
        return status

    def _set_aside(self, damage: _DamagedError) -> None:
        """Rename a damaged file, unless another process has done so already.

        Its journal goes first: left behind, it would be rolled back into the new file.
        """
        with _in_use, file_errors(self.path, PacelineError, "is damaged, and cannot be set aside", AWAY):
            try:
                descriptor = os.open(self.path, os.O_RDWR)
            except FileNotFoundError:
                return
            try:
                self._lock(descriptor)
                here, opened = self._status(), os.fstat(descriptor)
                known = (here, damage.status)
                if any(status is None or not os.path.samestat(status, opened) for status in known):
                    return  # a new file stands in its place
                names = (self.path.with_name(f"{self.path.name}.damaged-{number}") for number in count(1))
                aside = next(name for name in names if not name.exists())
                journal = self.path.with_name(f"{self.path.name}-journal")
                if journal.exists():
                    journal.rename(aside.with_name(f"{aside.name}-journal"))
                self.path.rename(aside)
            finally:
                os.close(descriptor)
        log.warning(
            "state_set_aside",
            file=str(self.path),
            moved_to=str(aside),
            reason=damage.reason,
            action="a new file is begun; what policies had learnt is not used",
            remedy="put a good copy in its place, or remove the damaged file",
        )

    def _lock(self, descriptor: int) -> None:
        """Wait until no process is within a transaction; the lock is free again when the file is closed."""
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        place, length = LOCKED_BYTES
        locked = False
        while not locked:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, length, place)
                locked = True
            except (BlockingIOError, PermissionError):
                if time.monotonic() > deadline:
                    raise self._problem(sqlite3.SQLITE_BUSY, "it is damaged and locked") from None
                time.sleep(0.01)

    def _check_kind(self, database: sqlite3.Connection) -> None:
        """Make the tables where there are none; refuse a database of another version or another program."""
        tables = {sql for (sql,) in database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
        if not tables:  # a new file, or one whose first writer was killed
            for statement in (*TABLES, *(f"PRAGMA {name} = {number}" for name, number in HEADER.items())):
                database.execute(statement)
            return
        header = {name: database.execute(f"PRAGMA {name}").fetchone()[0] for name in HEADER}
        if header["application_id"] != APPLICATION_ID:
            problem = "is no state file, but another database"
        elif header["user_version"] != VERSION:
            problem = f"is of version {header['user_version']}; this paceline reads version {VERSION}"
        elif tables != set(TABLES):
            problem = "has other tables than a state file"
        else:
            return
        raise PacelineError(f"{printable(self.path)}: {problem}; {AWAY}")

    def _first_bytes(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(HEADER_BYTES)

    def _is_ours(self) -> bool:
        """Tell whether a file that SQLite cannot read begins as a state file of this version, or a part of one does.

        Either of the marks beside the version may be damaged itself.
        """
        header = self._first_bytes()
        if len(header) < HEADER_BYTES:
            return header.startswith(SQLITE_MAGIC)
        marked = header.startswith(SQLITE_MAGIC) or header.startswith(APPLICATION_ID.to_bytes(4), 68)
        return marked and header.startswith(VERSION.to_bytes(4), 60)

    def _problem(self, code: int, reason: str) -> PacelineError:
        """Return the error for what SQLite found."""
        problem, remedy = PROBLEMS.get(code, ("cannot be used", ROOM))
        if code in DAMAGE and self._first_bytes().lstrip().startswith(b"{"):
            problem, remedy = (
                "is a state file of paceline 0.1, which was JSON",
                f"{CONVERT}, to be named instead",
            )
        return PacelineError(f"{printable(self.path)}: {problem} ({reason}); {remedy}")


class _DamagedError(Exception):
    """A file is damaged.

    Attributes:
        reason: What SQLite says.
        status: Facts about the file before it was opened.
    """

    def __init__(self, reason: str, status: os.stat_result | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


def _text(database: sqlite3.Connection, key: str) -> bytes | None:
    """Return a document as it stands there, whatever that is."""
    row = database.execute("SELECT CAST(document AS BLOB) FROM documents WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]
