"""The file that knowledge is kept in: read as a whole, changed under a lock, replaced in one step.

A reader needs no lock, since the file is only ever replaced by a whole new one: a process that is killed while it
writes leaves the old file behind. What cannot be read is never lost: it is copied aside before it is written over.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from filelock import FileLock

from paceline.core.blame import words
from paceline.core.errors import PacelineError
from paceline.core.inputs import MIB, file_errors, read_input, size
from paceline.core.json_text import parse_json
from paceline.core.outputs import check_output, write_text
from paceline.core.state.entry import Entry, read_entry

if TYPE_CHECKING:
    from paceline.core.state.key import StateKey

log = structlog.get_logger()

VERSION = 1
"""Raised when a reader of the old version would misread a new file; new keys alone do not raise it."""

KIND = "paceline-state"
MOST = 32 * MIB
"""Bytes of a state file: a policy keeps some kilobytes for each pair of models."""

PATIENCE_S = 10.0
"""How long to wait for another process that writes; writing takes milliseconds."""


class StateFile:
    """Entries by key, in a JSON file that several processes may use at once.

    Args:
        path: The file; it and its folder are made when something is first written.
    """

    def __init__(self, path: Path | str) -> None:
        # A link is followed here, for replacing it would leave the file it leads to as it was.
        self.path = Path(os.path.realpath(path))

    def read(self, key: StateKey) -> Entry | None:
        """Return what is known about something; None, after a warning, where what stands there cannot be used."""
        try:
            return _entry(self._document(), key)
        except (PacelineError, ValueError) as error:
            self.warn_refused(key, error)
            return None

    def update(
        self,
        key: StateKey,
        change: Callable[[Entry | None], Entry],
        *,
        unusable: Entry | None = None,
    ) -> Entry:
        """Replace the entry about something by what `change` makes of it, and leave all others as they are.

        Args:
            key: What the entry is about.
            change: Shown what stands there now; called under the lock.
            unusable: What was found to be of no use; if it still stands there, `change` is shown None.

        Returns:
            The new entry.

        Raises:
            PacelineError: The file cannot be written.
            OSError: Its lock cannot be written, or (as TimeoutError) another process does not let go of it.
            ValueError: The new entry is not JSON-able, or too much.
        """
        check_output(self.path, PacelineError)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock", timeout=PATIENCE_S):
            try:
                document = self._document()
                now = _entry(document, key)
                spoilt = now is not None and now == unusable
            except ValueError:
                now, spoilt = None, True
                document = self._salvaged()
            entry = change(None if spoilt else now)
            document["entries"][key.name] = entry.to_json(key.about)
            text = json.dumps(document, indent=1, allow_nan=False) + "\n"
            if len(text) > MOST:
                raise ValueError(f"the file would have more than {size(MOST)}")
            if spoilt:
                shutil.copyfile(self.path, self.aside())
            write_text(self.path, text)
        return entry

    def aside(self) -> Path:
        """Return where the file as it is now is kept before it is written over, if it is damaged."""
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return self.path.with_name(f"{self.path.name}.damaged-{digest[:8]}")

    def warn_refused(self, key: StateKey, error: Exception) -> None:
        """Log that what stands in the file is not used, and what happens now."""
        log.warning(
            "state_refused",
            file=str(self.path),
            key=key.name,
            reason=words(error),
            action="the policy starts fresh",
            remedy="name another file in `state:`, or put a good copy in its place; before something new is saved "
            f"this one is kept as {self.path.name}.damaged-...",
        )

    def warn_unsaved(self, key: StateKey, error: BaseException) -> None:
        """Log that something learnt was not saved."""
        log.warning(
            "state_not_saved",
            file=str(self.path),
            key=key.name,
            reason=words(error),
            remedy="name a file in `state:` that can be written, or leave the key out",
        )

    def _document(self) -> dict[str, Any]:
        """Return what stands in the file; what an empty one holds if there is none.

        Raises:
            PacelineError: It cannot be read.
            ValueError: It is no state file of this version.
        """
        with file_errors(self.path, PacelineError, "cannot be read"):
            there = self.path.exists()
        if not there:
            return {"kind": KIND, "version": VERSION, "entries": {}}
        found = parse_json(read_input(self.path, PacelineError, most=MOST))
        if not isinstance(found, dict) or found.get("kind") != KIND:
            raise ValueError(f'it is no state file: "kind" is not {KIND!r}')
        version = found.get("version")
        if version != VERSION or isinstance(version, bool):
            raise ValueError(f"it is of version {version!r}; this paceline reads version {VERSION}")
        if not isinstance(found.get("entries"), dict):
            raise ValueError('"entries" is not a mapping')  # noqa: TRY004 - callers catch ValueError
        return found

    def _salvaged(self) -> dict[str, Any]:
        """Return what can be kept of a file with a fault: all of it if the fault is in one entry, else nothing."""
        try:
            return self._document()
        except ValueError:
            return {"kind": KIND, "version": VERSION, "entries": {}}


def _entry(document: dict[str, Any], key: StateKey) -> Entry | None:
    found = document["entries"].get(key.name)
    return None if found is None else read_entry(found, key.about)
