"""A replica's side of the exchange with the hub: what its policy learnt by itself, and the thread that reports it.

Decoding never waits for the hub.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import structlog

from paceline import PacelineError, Shareable, StateKey
from paceline_ray.messages import Account, Answer, Report, Sums, added

log = structlog.get_logger()

Exchange = Callable[[Report], Answer]
"""Gives the hub a report and returns its answer; raises within bounded time when there is none."""

SHORTEST_S, LONGEST_S = 0.5, 5.0
"""A period below costs more than it tells; one above leaves a new replica alone for long."""

MOST_PATIENT_S = 30.0

SLACK = 1e-6
"""Share by which a sum may be smaller after adding and taking away again."""


class ForgettingError(PacelineError):
    """A policy forgets by itself, so that what it learnt cannot be told from what it forgot."""


class DeltaTracker:
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
        exported = self._policy.export()
        for name in exported.keys() | self._base.keys():
            before = self._base.get(name, 0.0)
            gained = exported.get(name, 0.0) - before
            if gained < -SLACK * max(1.0, abs(before)):
                raise ForgettingError(
                    f"the statistic {name!r} of {type(self._policy).__name__} went from {before:g} to "
                    f"{exported.get(name, 0.0):g} by itself; a shared policy leaves forgetting to the hub: set its "
                    "discounts to 1"
                )
            if gained:
                self.totals[name] = self.totals.get(name, 0.0) + gained
        self._base = dict(exported)


class Sync(threading.Thread):
    """Reports every `period_s` and takes the pool in exchange, until it is stopped.

    While there is no hub the replica goes on with what it knows. The thread says so once, tries again after 1, 2, 4,
    ... periods, at most `most_patient_s`, and its next report makes up for everything.

    Args:
        tracker: What is reported.
        connect: Finds the hub; raises within bounded time when there is none.
        period_s: Seconds between two reports, 0.5 to 5.
        most_patient_s: The longest wait for a hub that is away.

    Raises:
        ValueError: The period is out of range.
    """

    def __init__(
        self,
        tracker: DeltaTracker,
        connect: Callable[[], Exchange],
        *,
        period_s: float = 1.0,
        most_patient_s: float = MOST_PATIENT_S,
    ) -> None:
        if not SHORTEST_S <= period_s <= LONGEST_S:
            raise ValueError(f"the period is {SHORTEST_S} to {LONGEST_S} seconds, found {period_s}")
        super().__init__(name="paceline-ray-sync", daemon=True)
        self._tracker, self._connect = tracker, connect
        self._period_s, self._most_patient_s = period_s, most_patient_s
        self._exchange: Exchange | None = None
        self._wait_s = period_s
        self._away = False
        self._stopping = threading.Event()
        self._talking = threading.Lock()

    def run(self) -> None:
        """Exchange until stopped; once more at the end, so that nothing learnt is left behind."""
        self.exchange()
        while not self._stopping.wait(self._wait_s):
            self.exchange()
        self.exchange()

    def exchange(self) -> bool:
        """Talk to the hub once, now; return whether it answered. Never raises."""
        with self._talking:
            try:
                if self._exchange is None:
                    self._exchange = self._connect()
                report = self._tracker.report()
                self._tracker.take(report, self._exchange(report))
            except ForgettingError as error:
                log.error("sharing_ended", reason=str(error), action="this replica goes on alone")  # noqa: TRY400 - no traceback
                self._stopping.set()
                return False
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the hub, the replica goes on
                self._lost(error)
                return False
            if self._away:
                log.warning("hub_back", action="what was learnt meanwhile has been reported")
            self._away, self._wait_s = False, self._period_s
            return True

    def close(self, patience_s: float = 5.0) -> None:
        """End the thread after a last exchange; waits for it no longer than `patience_s`."""
        self._stopping.set()
        if self.is_alive():
            self.join(patience_s)

    def _lost(self, error: Exception) -> None:
        if not self._away:
            log.warning(
                "hub_away",
                reason=f"{type(error).__name__}: {error}".splitlines()[0],
                action="this replica goes on alone and tries again",
            )
        else:
            self._wait_s = min(2.0 * self._wait_s, self._most_patient_s)
        self._away, self._exchange = True, None
