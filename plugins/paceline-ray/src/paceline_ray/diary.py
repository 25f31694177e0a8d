"""A replica's side of the exchange: what its policy learnt by itself, told apart from what came from others."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from paceline import PacelineError, Shareable, StateKey
from paceline_ray.messages import Account, Answer, Report, Sums, added

SLACK = 1e-6
"""How much smaller a sum may be after adding and taking away again, as a share of it."""


class FadingError(PacelineError):
    """A policy forgets by itself, so that what it learnt cannot be told from what it forgot."""


class Diary:
    """Keeps the totals of one replica, and puts the pool in the place of what its policy knows.

    Args:
        replica: The replica's name.
        epoch: Another text for every process.
        policy: The policy that learns.
        lock: Held by whoever plans and observes; here for less than a millisecond at a time.
        subject: What the policy's statistics are about.
        counts: What else is to be shown on the hub; called under the lock.
        now: Seconds.
    """

    def __init__(
        self,
        replica: str,
        epoch: str,
        policy: Shareable,
        lock: AbstractContextManager[object],
        subject: StateKey,
        *,
        counts: Callable[[], Sums] = dict,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._replica, self._epoch, self._subject = replica, epoch, subject
        self._policy, self._lock = policy, lock
        self._counts, self._now = counts, now
        self._sequence = 0
        self._acknowledged: Account | None = None
        self._acknowledged_at = 0.0
        self.totals: dict[str, float] = {}
        with lock:
            self._base = dict(policy.export())

    def report(self) -> Report:
        """Return everything learnt so far, under the next sequence number.

        Raises:
            FadingError: A sum shrank: the policy forgets by itself.
        """
        with self._lock:
            self._settle()
            counts = dict(self._counts())
        self._sequence += 1
        return Report(
            self._replica,
            self._epoch,
            self._sequence,
            self._subject,
            dict(self.totals),
            counts,
            self._acknowledged,
            self._now() - self._acknowledged_at if self._acknowledged is not None else 0.0,
        )

    def take(self, report: Report, answer: Answer) -> None:
        """Let the policy know what all replicas know, and what it learnt since its report; a late answer is let go."""
        if answer.sequence != report.sequence or report.sequence != self._sequence:
            return
        with self._lock:
            self._settle()
            since = added(self.totals, report.totals, weight=-1.0)
            known = added(answer.pool, since)
            # What is a little less than nothing is what rounding left of nothing.
            self._policy.replace({n: 0.0 if -SLACK < value < 0.0 else value for n, value in known.items()})
            self._base = dict(self._policy.export())
        self._acknowledged = Account(
            self._subject, report.sequence, report.totals, answer.share, report.counts
        )
        self._acknowledged_at = self._now()

    def _settle(self) -> None:
        """Add what was learnt since the last look."""
        found = self._policy.export()
        for name in found.keys() | self._base.keys():
            before = self._base.get(name, 0.0)
            gained = found.get(name, 0.0) - before
            if gained < -SLACK * max(1.0, abs(before)):
                raise FadingError(
                    f"the statistic {name!r} of {type(self._policy).__name__} went from {before:g} to "
                    f"{found.get(name, 0.0):g} by itself; a shared policy leaves forgetting to the hub: set its "
                    "discounts to 1"
                )
            if gained:
                self.totals[name] = self.totals.get(name, 0.0) + gained
        self._base = dict(found)
