"""The hub: takes reports, keeps accounts, answers with what all replicas know together. It knows nothing of Ray."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paceline_ray.ledger import Ledger
from paceline_ray.messages import Answer, Report, added
from paceline_ray.store import Store


class Hub:
    """One place where what replicas learn is added up.

    Args:
        half_life_s: Seconds until evidence weighs half; None forgets nothing.
        folder: Where accounts are kept over restarts of the hub; None keeps them in memory, and a new hub is told by
            the replicas that still live.
        now: Seconds that go on over restarts.
    """

    def __init__(
        self,
        *,
        half_life_s: float | None = None,
        folder: Path | str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = None if folder is None else Store(folder)
        accounts = None if self._store is None else self._store.read()
        self._now = now
        self._ledger = Ledger(now=now, half_life_s=half_life_s, accounts=accounts)

    def exchange(self, report: Report) -> Answer:
        """Take in a report and answer it. What is answered is kept: it is written down first.

        Raises:
            OSError: It could not be written down; the replica will say it again.
        """
        identity = (report.replica, report.epoch)
        before = self._ledger.accounts.get(identity)
        answer = self._ledger.take(report)
        after = self._ledger.accounts[identity]
        if self._store is not None and after is not before:
            try:
                self._store.write(identity, after)
            except OSError:
                if before is None:
                    del self._ledger.accounts[identity]
                else:
                    self._ledger.accounts[identity] = before
                raise
            for gone in self._ledger.drop_gone():
                self._store.drop(gone)
        elif after is not before:
            self._ledger.drop_gone()
        return answer

    def status(self) -> dict[str, Any]:
        """Return everything that can be shown: for each subject the pool, the counts, and the replicas."""
        return {
            "half_life_s": self._ledger.half_life_s,
            "subjects": [self._subject(subject.key, subject.about) for subject in self._ledger.subjects()],
        }

    def _subject(self, key: str, about: Any) -> dict[str, Any]:
        now = self._now()
        replicas = []
        counts: dict[str, float] = {}
        for (replica, epoch), account in sorted(self._ledger.accounts.items()):
            if account.subject.key == key:
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
            "pool": self._ledger.pool(key),
            "counts": counts,
            "replicas": replicas,
        }
