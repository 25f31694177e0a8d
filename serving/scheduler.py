"""Scheduling: the requests of an event loop share the rounds of one decoder, in a thread of its own.

A decoder, its cost model and its policy belong to one thread, and a policy remembers its plan until it has seen what
came of it. `BatchDecoder` takes a round of each request: all in one pass where the target can, else in turn. So a long
request does not hold up a short one. Each that has begun holds caches, so only so many have; the others wait in line.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias, Unpack

from paceline.core.batch import BatchDecoder, BatchRequest
from paceline.core.errors import ClosedError, PacelineError
from paceline.core.log import log
from paceline.core.records import Round

if TYPE_CHECKING:
    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.generation import Tally
    from paceline.core.sampling import RequestOptions

MAX_ACTIVE = 16
"""Requests that have begun at a time: each holds caches of target and drafts."""

Deliver: TypeAlias = "Callable[[Round | BaseException | None], None]"
"""Is given each round, at last None or what went wrong; called in the thread, must not wait."""


class RequestTask:
    """One request in line or under way, and where its rounds go."""

    def __init__(self, submit: Callable[[], BatchRequest], deliver: Deliver) -> None:
        self._submit, self.deliver = submit, deliver
        self._request: BatchRequest | None = None
        self.cancelled = False
        self._reason: PacelineError | None = None

    def cancel(self, reason: PacelineError | None = None) -> None:
        """Let the request go; from any thread, at any time. Its caches are freed before its next round would begin."""
        if self.cancelled:
            return
        self._reason, self.cancelled = reason, True
        if self._request is not None:
            self._request.cancel(reason)

    def join(self) -> BatchRequest:
        """Put the request into the batch."""
        self._request = self._submit()
        if self.cancelled:  # between the two lines of `cancel`
            self._request.cancel(self._reason)
        return self._request


class Scheduler:
    """Takes the rounds of the requests it is given until it is stopped.

    Args:
        decoder: Closed when the scheduler is stopped.
        max_active: Requests that have begun at a time.
    """

    def __init__(self, decoder: SpeculativeDecoder, *, max_active: int) -> None:
        self._batch = BatchDecoder(decoder, max_rows=max_active)
        self.max_active = max_active
        self._waiting: deque[RequestTask] = deque()
        self._active: dict[BatchRequest, RequestTask] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._problem: BaseException | None = None
        # Started by the first request: a server may fork before that, and threads do not survive it.
        self._thread: threading.Thread | None = None

    def submit(
        self,
        prompt: Sequence[int],
        deliver: Deliver,
        *,
        tally: Tally,
        **options: Unpack[RequestOptions],
    ) -> RequestTask:
        """Take on a request; arguments are those of `SpeculativeDecoder.rounds`.

        Raises:
            ClosedError: The scheduler was stopped.
        """
        task = RequestTask(lambda: self._batch.submit(prompt, tally=tally, **options), deliver)
        with self._changed:
            if self._stopping:
                raise ClosedError("this decoder was closed")
            # Those who went away while they waited leave the line, which must not grow with them.
            gone = [left for left in self._waiting if left.cancelled]
            self._waiting = deque(left for left in self._waiting if not left.cancelled)
            self._waiting.append(task)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="paceline-scheduler", daemon=True)
                self._thread.start()
            self._changed.notify()
        for left in gone:
            left.deliver(None)
        return task

    def counts(self) -> tuple[int, int]:
        """Return how many requests have begun, and how many wait."""
        with self._changed:
            return len(self._active), sum(not task.cancelled for task in self._waiting)

    def stop(self, patience_s: float = 5.0) -> None:
        """End after the round that is being decoded, and close the decoder; who is not done gets a `ClosedError`.

        Raises:
            PacelineError: The decoder could not be closed in order, as its own `close` says.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is None:
            self._close()
        else:
            self._thread.join(patience_s)
        if self._problem is not None:
            raise self._problem

    def _run(self) -> None:
        while self._wait():
            try:
                self._step()
            except BaseException as error:  # noqa: BLE001 - the thread must go on for those who come later
                log.error("rounds_failed", error=repr(error), exc_info=error)
                for request in self._active:
                    request.cancel()
                self._end_all(error)
                with suppress(BaseException):
                    self._batch.step()  # frees what they hold
        self._close()

    def _wait(self) -> bool:
        """Wait until there is work, let one request join, and return whether to go on."""
        with self._changed:
            self._changed.wait_for(lambda: self._active or self._waiting or self._stopping)
            if self._stopping:
                return False
            # One at a time: reading its prompt holds up those who are under way.
            if not self._waiting or len(self._active) >= self.max_active:
                return True
            task = self._waiting.popleft()
            try:
                self._active[task.join()] = task
            except Exception as error:  # noqa: BLE001 - one request's trouble is not that of the others
                task.deliver(error)
        return True

    def _step(self) -> None:
        for request, done in self._batch.step():
            self._active[request].deliver(done)
        over = [request for request in self._active if request.done]
        for request in over:
            self._active[request].deliver(request.error)
            with self._changed:
                del self._active[request]

    def _close(self) -> None:
        try:
            self._batch.close()
        except BaseException as problem:  # noqa: BLE001 - raised by `stop`, in the thread of who called it
            self._problem = problem
        self._end_all(None)
        for task in self._waiting:
            task.deliver(
                None if task.cancelled else ClosedError("this decoder was closed before the text was done")
            )
        self._waiting.clear()

    def _end_all(self, error: BaseException | None) -> None:
        for request, task in self._active.items():
            task.deliver(None if task.cancelled else error or request.error)
        with self._changed:
            self._active.clear()
