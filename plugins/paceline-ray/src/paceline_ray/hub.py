"""The hub: takes reports, keeps accounts, answers with what all replicas know together. It knows nothing of Ray."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from paceline import PacelineError, StateKey, StateStore
from paceline_ray.accounts import AccountStore, Identity
from paceline_ray.messages import Account, Answer, Report, added

log = structlog.get_logger()

FILE = "accounts.db"
VERSION = 1
SUMS = ("totals", "share", "counts")


class Hub:
    """One place where what replicas learn is added up.

    Args:
        half_life_s: Seconds until evidence weighs half; None forgets nothing.
        folder: Where accounts are kept over restarts of the hub, in the file `accounts.db`, so that what was
            acknowledged outlives the process; None keeps them in memory, and a new hub is told by the replicas that
            still live. One hub at a time writes there.
        now: Seconds that go on over restarts.
    """

    def __init__(
        self,
        *,
        half_life_s: float | None = None,
        folder: Path | str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = None if folder is None else StateStore(Path(folder) / FILE)
        accounts = None if self._store is None else read_accounts(self._store)
        self._now = now
        self._accounts = AccountStore(now=now, half_life_s=half_life_s, accounts=accounts)

    def exchange(self, report: Report) -> Answer:
        """Take in a report and answer it. What is answered is kept: it is written down first.

        Raises:
            PacelineError: It could not be written down; the replica will say it again.
        """
        identity = (report.replica, report.epoch)
        before = self._accounts.accounts.get(identity)
        answer = self._accounts.take(report)
        after = self._accounts.accounts[identity]
        if self._store is not None and after is not before:
            try:
                document = _document(identity, after)
                self._store.update(_key(identity), lambda _: document)
            except PacelineError:
                if before is None:
                    del self._accounts.accounts[identity]
                else:
                    self._accounts.accounts[identity] = before
                raise
            for gone in self._accounts.drop_gone():
                self._store.remove(_key(gone))
        elif after is not before:
            self._accounts.drop_gone()
        return answer

    def status(self) -> dict[str, Any]:
        """Return everything that can be shown: for each subject the pool, the counts, and the replicas."""
        return {
            "half_life_s": self._accounts.half_life_s,
            "subjects": [self._subject(subject.name, subject.about) for subject in self._accounts.subjects()],
        }

    def _subject(self, key: str, about: Any) -> dict[str, Any]:
        now = self._now()
        replicas = []
        counts: dict[str, float] = {}
        for (replica, epoch), account in sorted(self._accounts.accounts.items()):
            if account.subject.name == key:
                counts = added(counts, account.counts)
                replicas.append(
                    {
                        "replica": replica,
                        "epoch": epoch,
                        "reports": account.sequence,
                        "heard_s_ago": max(0.0, now - account.at),
                        "counts": dict(account.counts),
                        "totals": dict(account.totals),
                    }
                )
        return {
            "key": key,
            "about": dict(about),
            "pool": self._accounts.pool(key),
            "counts": counts,
            "replicas": replicas,
        }


def read_accounts(store: StateStore) -> dict[Identity, Account]:
    """Return the accounts in a store, and those that 0.1 left beside it, a JSON file for each.

    What cannot be used is left alone, after a warning.
    """
    old, keys = sorted(store.path.parent.glob("*.json")), store.keys()
    sources = [(str(path), partial(_json, path)) for path in old]
    sources += [(f"{store.path}: {key}", partial(store.read, key)) for key in keys]
    accounts = {}
    for place, read in sources:
        try:
            identity, account = _account(read())
        except (OSError, ValueError, TypeError, KeyError, PacelineError) as error:
            log.warning("account_refused", file=place, reason=str(error), action="it is left out")
        else:
            accounts[identity] = account
    return accounts


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _key(identity: Identity) -> str:
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]


def _document(identity: Identity, account: Account) -> dict[str, Any]:
    return {"version": VERSION, "replica": identity[0], "epoch": identity[1], **asdict(account)}


def _account(document: Any) -> tuple[Identity, Account]:
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise ValueError(f"it is no account of version {VERSION}")
    sums = {name: {str(key): _number(value) for key, value in document[name].items()} for name in SUMS}
    about = document["subject"]
    subject = StateKey(str(about.get("name", about.get("key"))), dict(about["about"]))
    identity = (str(document["replica"]), str(document["epoch"]))
    return identity, Account(subject, int(document["sequence"]), at=_number(document["at"]), **sums)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)
