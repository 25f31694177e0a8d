"""`StateStore`: JSON documents by key, in an SQLite file that threads and processes use at once.

Every call is a transaction on a connection of its own, so nothing is held between calls. The journal is SQLite's
rollback journal, not its write-ahead log: writes are few and small, nobody waits for longer than one, and what is at
rest is a single file that can be copied. A process that is killed while it writes leaves a journal, from which the next
one to open the file restores what was there.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, Final

from paceline.core.errors import PacelineError
from paceline.core.files import MIB, ROOM, check_output, file_errors, not_regular, printable, size
from paceline.core.json_text import parse_json

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
    sqlite3.SQLITE_CORRUPT: ("is damaged", f"put a good copy in its place, or {AWAY}"),
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

# A process must not be forked while one of its threads is inside SQLite, whose own locks nobody could release there.
_in_use = RLock()
os.register_at_fork(before=_in_use.acquire, after_in_parent=_in_use.release, after_in_child=_in_use.release)


class StateStore:
    """Documents by key in one file.

    Args:
        path: The file; it and its folder are made when something is first written. A link is followed.

    Raises:
        PacelineError: From every method: the file cannot be used; names it and says what to do.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(os.path.realpath(path))

    def check(self) -> None:
        """Refuse a file that is there and is damaged, of another version, or no state file at all."""
        if self._there():
            with self._transaction("BEGIN") as database:
                ((answer,),) = database.execute("PRAGMA quick_check(1)")
                if answer != "ok":
                    raise self._problem(sqlite3.SQLITE_CORRUPT, answer)

    def keys(self) -> list[str]:
        """Return the keys of all documents, sorted."""
        if not self._there():
            return []
        with self._transaction("BEGIN") as database:
            return [key for (key,) in database.execute("SELECT key FROM documents ORDER BY key")]

    def read(self, key: str) -> Any:
        """Return the document of a key; None if there is none.

        Raises:
            ValueError: What stands there is no JSON, or holds numbers out of all bounds.
        """
        if not self._there():
            return None
        with self._transaction("BEGIN") as database:
            text = _text(database, key)
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
        check_output(self.path, PacelineError)
        with file_errors(self.path, PacelineError, "cannot be written", ROOM):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._there()
        with self._transaction("BEGIN IMMEDIATE") as database:
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

    def remove(self, key: str) -> None:
        """Remove a document, if it is there."""
        if self._there():
            with self._transaction("BEGIN IMMEDIATE") as database:
                database.execute("DELETE FROM documents WHERE key = ?", (key,))
                database.execute("COMMIT")

    def _there(self) -> bool:
        """Tell whether there is a file with something in it; refuse what is no file, or too large."""
        with file_errors(self.path, PacelineError, "cannot be read"):
            try:
                status = self.path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return False
        what = not_regular(status.st_mode)
        if what is None and status.st_size > MAX_BYTES:
            what = f"has more than {size(MAX_BYTES)}, the most that is read here; {AWAY}"
        if what is not None:
            raise PacelineError(f"{printable(self.path)}: {what}")
        return status.st_size > 0

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        """Give a connection within a transaction, which is rolled back unless it was committed."""
        with _in_use:
            try:
                connection = sqlite3.connect(self.path, BUSY_TIMEOUT_S, isolation_level=None)
                with closing(connection) as database:
                    database.execute("PRAGMA trusted_schema = OFF")
                    database.execute(f"PRAGMA max_page_count = {MAX_BYTES // PAGE_BYTES}")
                    database.execute(begin)
                    self._check_kind(database)
                    yield database
            except sqlite3.Error as error:
                raise self._problem(getattr(error, "sqlite_errorcode", 0), str(error)) from error

    def _check_kind(self, database: sqlite3.Connection) -> None:
        """Make the tables where there are none; refuse a database of another version or another program."""
        tables = {sql for (sql,) in database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
        if not tables:  # a new file, or one whose first writer was killed
            for statement in (*TABLES, *(f"PRAGMA {name} = {number}" for name, number in HEADER.items())):
                database.execute(statement)
            return
        marks = {name: database.execute(f"PRAGMA {name}").fetchone()[0] for name in HEADER}
        if marks["application_id"] != APPLICATION_ID:
            what = "is no state file, but another database"
        elif marks["user_version"] != VERSION:
            what = f"is of version {marks['user_version']}; this paceline reads version {VERSION}"
        elif tables != set(TABLES):
            what = "has other tables than a state file"
        else:
            return
        raise PacelineError(f"{printable(self.path)}: {what}; {AWAY}")

    def _problem(self, code: int, reason: str) -> PacelineError:
        """Return the error for what SQLite found; `code` may be an extended one."""
        what, remedy = PROBLEMS.get(code & 0xFF, ("cannot be used", ROOM))
        if code & 0xFF == sqlite3.SQLITE_NOTADB and self._is_json():
            what, remedy = (
                "is a state file of paceline 0.1, which was JSON",
                f"{CONVERT}, to be named instead",
            )
        return PacelineError(f"{printable(self.path)}: {what} ({reason}); {remedy}")

    def _is_json(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(64).lstrip().startswith(b"{")


def _text(database: sqlite3.Connection, key: str) -> bytes | None:
    """Return a document as it stands there, whatever that is."""
    row = database.execute("SELECT CAST(document AS BLOB) FROM documents WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]
