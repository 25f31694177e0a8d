"""The hub: takes reports, keeps accounts, answers with what all replicas know together. It knows nothing of Ray.

Of each life of each replica the hub keeps the latest totals T and a share S, what is still remembered of them. When a
report with totals T' comes in, dt seconds after the one before,

    S' = S 2^(-dt / h) + (T' - T),

h being the half-life. So the evidence of a report weighs 1 when it arrives, and half of it h seconds later, wherever
it came from; the pool of a subject is the sum of its shares as of now. Because T' says everything, a report that is
lost is made good by the next, and one that comes twice or late finds its sequence number taken. Forgetting takes place
here alone: if replicas forgot as well, old evidence would fade twice.

A hub that lost an account is given it back by the replica, with the time that has passed since. Of two versions of an
account the one of the higher sequence number holds: what a hub knows can only grow together (a join of maxima; Shapiro
et al. 2011, https://doi.org/10.1007/978-3-642-24550-3_29).
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from paceline import PacelineError, StateKey, StateStore
from paceline_ray.messages import Account, Answer, Report, added

log = structlog.get_logger()

FILE = "accounts.db"
VERSION = 1
SUMS = ("totals", "share", "counts")

GONE = 40
"""Half-lives after which an account is dropped: 1e-12 of it is left."""

Identity = tuple[str, str]
"""Replica and epoch."""


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
        self._half_life_s, self._now = half_life_s, now
        self._accounts = {} if self._store is None else read_accounts(self._store)

    def exchange(self, report: Report) -> Answer:
        """Take in a report, new or old or known already, and answer it. What is answered is written down first.

        Raises:
            PacelineError: It could not be written down; the replica will say it again.
        """
        identity, now = (report.replica, report.epoch), self._now()
        known = self._accounts.get(identity)
        account = self._account(report, known, now)
        if account is not known:
            if self._store is not None:
                names = {"version": VERSION, "replica": report.replica, "epoch": report.epoch}
                self._store.update(_key(identity), lambda _: names | asdict(account))
            self._accounts[identity] = account
            self._drop_gone(now)
        remembered = added({}, account.share, weight=self._left(account, now))
        return Answer(account.sequence, remembered, self.pool(account.subject.name))

    def pool(self, key: str) -> dict[str, float]:
        """Return what is remembered under a key, of all replicas together."""
        now, total = self._now(), dict[str, float]()
        for account in self._accounts.values():
            if account.subject.name == key:
                total = added(total, account.share, weight=self._left(account, now))
        return {name: total[name] for name in sorted(total) if total[name]}

    def status(self) -> dict[str, Any]:
        """Return everything that can be shown: for each subject the pool, the counts, and the replicas."""
        subjects = {account.subject.name: account.subject.about for account in self._accounts.values()}
        return {
            "half_life_s": self._half_life_s,
            "subjects": [self._subject(key, subjects[key]) for key in sorted(subjects)],
        }

    def _account(self, report: Report, known: Account | None, now: float) -> Account:
        """Return a replica's account after a report."""
        carried = report.acknowledged
        if carried is not None and (known is None or known.sequence < carried.sequence):
            known = replace(carried, at=now - report.age_s)
        if known is None:
            known = Account(report.subject, at=now)
        if report.sequence <= known.sequence:
            return known
        news = added(report.totals, known.totals, weight=-1.0)
        return Account(
            report.subject,
            report.sequence,
            totals=dict(report.totals),
            share=added(news, known.share, weight=self._left(known, now)),
            counts=dict(report.counts),
            at=now,
        )

    def _left(self, account: Account, now: float) -> float:
        if self._half_life_s is None:
            return 1.0
        return float(2.0 ** (-max(0.0, now - account.at) / self._half_life_s))

    def _drop_gone(self, now: float) -> None:
        if self._half_life_s is None:
            return
        oldest = now - GONE * self._half_life_s
        for identity in [identity for identity, account in self._accounts.items() if account.at < oldest]:
            del self._accounts[identity]
            if self._store is not None:
                self._store.remove(_key(identity))

    def _subject(self, key: str, about: Any) -> dict[str, Any]:
        now, counts = self._now(), dict[str, float]()
        replicas = []
        for (replica, epoch), account in sorted(self._accounts.items()):
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
            "pool": self.pool(key),
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
            identity, account = _read(read())
        except (OSError, ValueError, TypeError, KeyError, PacelineError) as error:
            log.warning("account_refused", file=place, reason=str(error), action="it is left out")
        else:
            accounts[identity] = account
    return accounts


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _key(identity: Identity) -> str:
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]


def _read(document: Any) -> tuple[Identity, Account]:
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
