"""Round-robin scheduling: one decoder, many requests, a round of each in turn.

A decoder, its cost model and its policy belong to one thread, and a policy remembers its plan until it has seen what
came of it. So rounds never overlap; requests do, round by round, and a long one does not hold up a short one. Each
that has begun holds caches, so only so many have; the others wait in line.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import TypeAlias

from paceline.core.errors import ClosedError, short_repr
from paceline.core.log import log
from paceline.core.records import Round

MAX_ACTIVE = 16
"""Requests that have begun at a time: each holds caches of target and drafts."""

Deliver: TypeAlias = "Callable[[Round | BaseException | None], None]"
"""Is given each round, at last None or what went wrong; called in the thread, must not wait."""


class RequestTask:
    """One request: its decoder's iterator, and where its rounds go."""

    def __init__(self, start: Callable[[], Iterator[Round]], deliver: Deliver) -> None:
        self._start, self._deliver = start, deliver
        self._rounds: Iterator[Round] | None = None
        self.cancelled = False

    def cancel(self) -> None:
        """Let the request go; from any thread, at any time. It is closed before its next round would begin."""
        self.cancelled = True

    def step(self) -> bool:
        """Decode one round, or end; return whether there is more to come."""
        if self.cancelled:
            self.end(None)
            return False
        try:
            if self._rounds is None:
                self._rounds = self._start()
            done = next(self._rounds, None)
        except BaseException as error:  # noqa: BLE001 - one request's trouble is not that of the others
            self._deliver(error)
            return False
        self._deliver(done)
        return done is not None

    def end(self, error: BaseException | None) -> None:
        """Close the decoder's iterator, which frees what the request held, and deliver the end."""
        try:
            if isinstance(self._rounds, Generator):
                self._rounds.close()
        except BaseException as problem:  # noqa: BLE001 - nobody waits for it any more
            log.warning("close_failed", error=short_repr(problem))
        self._deliver(error)


class RoundRobinScheduler:
    """Plays the requests it is given, in turn, in a thread of its own, until it is stopped.

    Args:
        max_active: Requests that have begun at a time.
    """

    def __init__(self, *, max_active: int = MAX_ACTIVE) -> None:
        if max_active < 1:
            raise ValueError(f"at least one request is active at a time, found {max_active}")
        self.max_active = max_active
        self._waiting: deque[RequestTask] = deque()
        self._active: deque[RequestTask] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        # Started by the first request: a server may fork before that, and threads do not survive it.
        self._thread: threading.Thread | None = None

    def submit(self, start: Callable[[], Iterator[Round]], deliver: Deliver) -> RequestTask:
        """Take on a request; `start` is called in the thread.

        Raises:
            ClosedError: The scheduler was stopped.
        """
        task = RequestTask(start, deliver)
        with self._changed:
            if self._stopping:
                raise ClosedError("this decoder was closed")
            # Those who went away while they waited leave the line, which must not grow with them.
            gone = [task for task in self._waiting if task.cancelled]
            self._waiting = deque(task for task in self._waiting if not task.cancelled)
            self._waiting.append(task)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="paceline-scheduler", daemon=True)
                self._thread.start()
            self._changed.notify()
        for left in gone:
            left.end(None)
        return task

    def counts(self) -> tuple[int, int]:
        """Return how many requests have begun, and how many wait."""
        with self._changed:
            return len(self._active), sum(not task.cancelled for task in self._waiting)

    def stop(self, patience_s: float = 5.0) -> None:
        """End after the round that is being decoded; requests that are not done get a `ClosedError`."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(patience_s)

    def _run(self) -> None:
        while (task := self._next()) is not None:
            if not task.step():
                with self._changed:
                    self._active.remove(task)
        for left in (*self._active, *self._waiting):
            left.end(
                None if left.cancelled else ClosedError("this decoder was closed before the text was done")
            )
        self._active.clear()
        self._waiting.clear()

    def _next(self) -> RequestTask | None:
        """Return the request whose turn it is, and move it to the end of the line."""
        with self._changed:
            self._changed.wait_for(lambda: self._active or self._waiting or self._stopping)
            if self._stopping:
                return None
            while self._waiting and len(self._active) < self.max_active:
                self._active.append(self._waiting.popleft())
            self._active.rotate(-1)
            return self._active[-1]
