"""Round-robin scheduling: one decoder, many requests, a round of each in turn.

A decoder, its cost model and its policy belong to one thread, and a policy remembers its plan until it has seen what
came of it. So rounds never overlap; requests do, round by round, and a long one does not hold up a short one. Each
that has begun holds caches, so only so many have; the others wait in line.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager

from paceline.core.records import Round

MAX_ACTIVE = 16
"""Requests that have begun at a time: each holds caches of target and drafts."""

Deliver = Callable[[Round | BaseException | None], None]
"""Told of each round, at last of None or of what went wrong; called in the thread, must not wait."""


Count = Callable[[Round | None], None]


class RequestTask:
    """One request: its decoder's iterator, and where its rounds go."""

    def __init__(self, start: Callable[[], Iterator[Round]], deliver: Deliver) -> None:
        self._start, self._deliver = start, deliver
        self._rounds: Iterator[Round] | None = None
        self.cancelled = False

    def cancel(self) -> None:
        """Let the request go; from any thread, at any time. It is closed before its next round would begin."""
        self.cancelled = True

    def step(self, count: Count) -> bool:
        """Decode one round, or end; return whether there is more to come. In the thread, under the lock."""
        try:
            if self.cancelled:
                self.close()
                self._deliver(None)
                return False
            if self._rounds is None:
                self._rounds = self._start()
                count(None)
            done = next(self._rounds, None)
        except Exception as error:  # noqa: BLE001 - one request's trouble is not that of the others
            self.close()
            self._deliver(error)
            return False
        if done is not None:
            count(done)
        self._deliver(done)
        return done is not None

    def close(self) -> None:
        """Close the decoder's iterator, which frees what the request held."""
        if isinstance(self._rounds, Generator):
            self._rounds.close()


class RoundRobinScheduler(threading.Thread):
    """Plays the requests it is given, in turn, until it is stopped.

    Args:
        lock: Held while a round is decoded; whoever else touches the policy holds it too.
        count: Called with each round, and with None when a request begins; under the lock.
        at_once: How many requests have begun at a time.
    """

    def __init__(
        self, lock: AbstractContextManager[object], count: Count, *, max_active: int = MAX_ACTIVE
    ) -> None:
        super().__init__(name="paceline-scheduler", daemon=True)
        self._lock, self._count, self._max_active = lock, count, max_active
        self._waiting: deque[RequestTask] = deque()
        self._active: deque[RequestTask] = deque()
        self._changed = threading.Condition()
        self._stopping = False

    def submit(self, start: Callable[[], Iterator[Round]], deliver: Deliver) -> RequestTask:
        """Take on a request; `start` is called in the thread.

        Raises:
            RuntimeError: The thread was stopped.
        """
        task = RequestTask(start, deliver)
        with self._changed:
            if self._stopping:
                raise RuntimeError("this replica is shutting down")
            # Those who went away while they waited leave the line, which must not grow with them.
            self._waiting = deque(task for task in self._waiting if not task.cancelled)
            self._waiting.append(task)
            self._changed.notify()
        return task

    def stop(self, patience_s: float = 5.0) -> None:
        """End after the round that is being decoded, and let all requests go."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self.is_alive():
            self.join(patience_s)

    def run(self) -> None:
        """Decode until stopped."""
        while (task := self._next()) is not None:
            with self._lock:
                more = task.step(self._count)
            if more:
                self._active.append(task)
        for left in (*self._active, *self._waiting):
            left.cancel()
            left.step(self._count)

    def _next(self) -> RequestTask | None:
        with self._changed:
            self._changed.wait_for(lambda: self._active or self._waiting or self._stopping)
            if self._stopping:
                return None
            while self._waiting and len(self._active) < self._max_active:
                self._active.append(self._waiting.popleft())
        return self._active.popleft()
