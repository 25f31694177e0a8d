"""The hub's memory: one account for each life of each replica; what they share is the sum.

Of each account the hub keeps the latest totals T and a share S, what is still remembered of them. When a report with
totals T' comes in, dt seconds after the one before,

    S' = S 2^(-dt / h) + (T' - T),

h being the half-life. So the evidence of a report weighs 1 when it arrives, and half of it h seconds later, wherever
it came from; the pool of a subject is the sum of its shares as of now. Because T' says everything, a report that is
lost is made good by the next, and one that comes twice or late finds its sequence number taken. Forgetting takes place
here alone: if replicas forgot as well, old evidence would fade twice.

A hub that lost an account is given it back by the replica, with the time that has passed since. Of two versions of an
account the one of the higher sequence number holds: states of the store can only grow together (a join of
maxima; Shapiro et al. 2011, https://doi.org/10.1007/978-3-642-24550-3_29).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from paceline import StateKey
from paceline_ray.messages import Account, Answer, Report, Sums, added

GONE = 40
"""Half-lives after which an account is dropped: 1e-12 of it is left."""

Identity = tuple[str, str]
"""Replica and epoch."""


class AccountStore:
    """Accounts, and what can be read off them.

    Args:
        now: Seconds; may stand still, and goes on after a restart (time.time).
        half_life_s: Seconds until evidence weighs half; None forgets nothing.
        accounts: What is known from before.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        half_life_s: float | None = None,
        accounts: Mapping[Identity, Account] | None = None,
    ) -> None:
        self._now = now
        self.half_life_s = half_life_s
        self.accounts: dict[Identity, Account] = dict(accounts or {})

    def take(self, report: Report) -> Answer:
        """Take in a report, whether it is new, old, or known already."""
        identity, now = (report.replica, report.epoch), self._now()
        account = self.accounts.get(identity)
        carried = report.acknowledged
        if carried is not None and (account is None or account.sequence < carried.sequence):
            account = replace(carried, at=now - report.age_s)
        if account is None:
            account = Account(report.subject, at=now)
        if report.sequence > account.sequence:
            news = added(report.totals, account.totals, weight=-1.0)
            account = Account(
                subject=report.subject,
                sequence=report.sequence,
                totals=dict(report.totals),
                share=added(news, account.share, weight=self._left(account, now)),
                counts=dict(report.counts),
                at=now,
            )
        self.accounts[identity] = account
        pool = self._pool(account.subject.name, now)
        return Answer(account.sequence, self._remembered(account, now), pool)

    def pool(self, key: str) -> dict[str, float]:
        """Return what is remembered under a key, of all replicas together."""
        return self._pool(key, self._now())

    def subjects(self) -> Iterator[StateKey]:
        """Yield every subject once, in the order of their keys."""
        subjects = {account.subject.name: account.subject for account in self.accounts.values()}
        yield from (subjects[key] for key in sorted(subjects))

    def drop_gone(self) -> list[Identity]:
        """Drop the accounts of which nothing is left, and return whose they were."""
        if self.half_life_s is None:
            return []
        oldest = self._now() - GONE * self.half_life_s
        gone = [identity for identity, account in self.accounts.items() if account.at < oldest]
        for identity in gone:
            del self.accounts[identity]
        return gone

    def _pool(self, key: str, now: float) -> dict[str, float]:
        total: dict[str, float] = {}
        for account in self.accounts.values():
            if account.subject.name == key:
                total = added(total, account.share, weight=self._left(account, now))
        return {name: total[name] for name in sorted(total) if total[name]}

    def _remembered(self, account: Account, now: float) -> Sums:
        return added({}, account.share, weight=self._left(account, now))

    def _left(self, account: Account, now: float) -> float:
        if self.half_life_s is None:
            return 1.0
        return float(2.0 ** (-max(0.0, now - account.at) / self.half_life_s))
