"""Accounts on a disk, one file each, so that what the hub has acknowledged outlives its process.

A file is replaced in one step: a hub that is killed while it writes leaves the old one behind.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from paceline_ray.ledger import Identity
from paceline_ray.messages import Account, Subject

log = structlog.get_logger()

VERSION = 1
SUMS = ("totals", "share", "counts")


class Store:
    """A folder of accounts. One hub at a time writes there.

    Args:
        folder: Made when something is first written.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def read(self) -> dict[Identity, Account]:
        """Return every account; a file that cannot be used is left alone, after a warning."""
        found = {}
        for path in sorted(self.folder.glob("*.json")):
            try:
                identity, account = _account(json.loads(path.read_bytes()))
            except (OSError, ValueError, TypeError, KeyError) as error:
                log.warning("account_refused", file=str(path), reason=str(error), action="it is left out")
            else:
                found[identity] = account
        return found

    def write(self, identity: Identity, account: Account) -> None:
        """Keep an account.

        Raises:
            OSError: The file cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(identity)
        new = path.with_suffix(".new")
        document = {"version": VERSION, "replica": identity[0], "epoch": identity[1], **asdict(account)}
        with new.open("w", encoding="utf-8") as file:
            json.dump(document, file, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def drop(self, identity: Identity) -> None:
        """Remove an account, if it is there."""
        self._path(identity).unlink(missing_ok=True)

    def _path(self, identity: Identity) -> Path:
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        return self.folder / f"{digest[:24]}.json"


def _account(found: Any) -> tuple[Identity, Account]:
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise ValueError(f"it is no account of version {VERSION}")
    sums = {name: {str(key): _number(value) for key, value in found[name].items()} for name in SUMS}
    subject = Subject(str(found["subject"]["key"]), dict(found["subject"]["about"]))
    identity = (str(found["replica"]), str(found["epoch"]))
    return identity, Account(subject, int(found["sequence"]), at=_number(found["at"]), **sums)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)
