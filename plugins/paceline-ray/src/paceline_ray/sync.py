"""The background thread of a replica that talks to the hub. Decoding never waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from paceline_ray.diary import Diary, FadingError
from paceline_ray.messages import Answer, Report

log = structlog.get_logger()

Exchange = Callable[[Report], Answer]
"""Gives the hub a report and returns its answer; raises within bounded time when there is none."""

SHORTEST_S, LONGEST_S = 0.5, 5.0
"""A period below costs more than it tells; one above leaves a new replica alone for long."""

MOST_PATIENT_S = 30.0


class Sync(threading.Thread):
    """Reports every `period_s` and takes the pool in exchange, until it is stopped.

    While there is no hub the replica goes on with what it knows. The thread says so once, tries again after 1, 2, 4,
    ... periods, at most `most_patient_s`, and its next report makes up for everything.

    Args:
        diary: What is reported.
        connect: Finds the hub; raises within bounded time when there is none.
        period_s: Seconds between two reports, 0.5 to 5.
        most_patient_s: The longest wait for a hub that is away.

    Raises:
        ValueError: The period is out of range.
    """

    def __init__(
        self,
        diary: Diary,
        connect: Callable[[], Exchange],
        *,
        period_s: float = 1.0,
        most_patient_s: float = MOST_PATIENT_S,
    ) -> None:
        if not SHORTEST_S <= period_s <= LONGEST_S:
            raise ValueError(f"the period is {SHORTEST_S} to {LONGEST_S} seconds, found {period_s}")
        super().__init__(name="paceline-ray-sync", daemon=True)
        self._diary, self._connect = diary, connect
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
                report = self._diary.report()
                self._diary.take(report, self._exchange(report))
            except FadingError as error:
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
