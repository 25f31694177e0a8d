"""`BatchDecoder`: many requests in one pass, each with its own gamma; they join and leave at any round."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from traceback import clear_frames
from typing import TYPE_CHECKING, Unpack

from paceline.core.batch_rounds import BatchRounds, attempt
from paceline.core.errors import (
    INTERRUPTS,
    BackendError,
    ClosedError,
    PacelineError,
    QueueFullError,
    describe,
    short_repr,
)
from paceline.core.files import Closing
from paceline.core.forking import ForkSafeLock
from paceline.core.generation import Generation, Tally
from paceline.core.sampling import check_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paceline.core.decoder import OpenedRequest, SpeculativeDecoder
    from paceline.core.records import Round
    from paceline.core.sampling import RequestOptions

MAX_ROWS = 16
"""Requests that share a pass: each holds caches of target and drafts."""

MAX_WAITING = 256
"""Requests that wait for a row; more are refused, so that a line nobody can serve does not grow."""


class BatchRequest:
    """One request of a `BatchDecoder`, from its submission to its end.

    Attributes:
        prompt: Its tokens.
        tokens: The tokens delivered so far.
        tally: Sums over its rounds so far.
        error: What ended it, where that was an error; `delivered` of it holds `tokens`.
        cancelled: Whether it was cancelled. It is let go before the next round.
        reason: Its error from then on, if one was given.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        *,
        tally: Tally | None = None,
        **options: Unpack[RequestOptions],
    ) -> None:
        check_options(options)
        self.prompt = tuple(prompt)
        self.tokens: list[int] = []
        self.tally = Tally() if tally is None else tally
        self.error: BaseException | None = None
        self.cancelled = False
        self.reason: PacelineError | None = None
        self._options = options
        self._opened: OpenedRequest | None = None
        self._stack = ExitStack()
        self._closed = False

    @property
    def done(self) -> bool:
        """True once nothing more comes: the text has ended, it failed, or it was cancelled and let go."""
        return self._closed

    def cancel(self, reason: PacelineError | None = None) -> None:
        """Let the request go before the next round; from any thread, at any time. A reason is its `error` then."""
        self.reason = reason
        self.cancelled = True

    def open(self, decoder: SpeculativeDecoder) -> OpenedRequest:
        """Read the prompt."""
        self._opened = self._stack.enter_context(
            decoder.opened(self.prompt, tally=self.tally, **self._options)
        )
        return self._opened

    @property
    def opened(self) -> OpenedRequest:
        """The request under way."""
        assert self._opened is not None
        return self._opened

    def close(self, error: BaseException | None = None) -> None:
        """Free what it holds; `error` is what ended it."""
        self._closed = True
        self.error = error
        try:
            if error is None:
                self._stack.close()
            else:
                self._stack.__exit__(type(error), error, error.__traceback__)
        except INTERRUPTS:
            raise
        except BaseException as problem:  # noqa: BLE001 - a trace that cannot be written costs the others nothing
            self.error = self.error or problem
        # What an error remembers of the frames that it passed would keep caches as long as the request is kept.
        cause = self.error
        while cause is not None:
            clear_frames(cause.__traceback__)
            cause = cause.__cause__
        if isinstance(self.error, PacelineError):
            self.error.delivered = tuple(self.tokens)


class BatchDecoder(Closing):
    """Decodes many requests at once: one pass of the target verifies what was drafted for all of them.

    A request joins as soon as a row is free, and leaves when its text ends; the others go on. One thread takes the
    rounds; requests may be submitted and cancelled from others. A policy that has `plan_batch` plans for all rows
    together. Any other that serves all requests is asked for one plan a round, which holds for all of them; to let each
    row have a policy of its own, give the decoder a function that makes one.

    Args:
        decoder: Used by nobody else from now on, and closed with this one.
        max_rows: Requests that share a pass, each with caches of its own.
        max_waiting: Requests that wait for a row at most.
    """

    def __init__(
        self, decoder: SpeculativeDecoder, *, max_rows: int = MAX_ROWS, max_waiting: int = MAX_WAITING
    ) -> None:
        if max_rows < 1 or max_waiting < 1:
            raise ValueError(
                f"max_rows and max_waiting must be at least 1, found {short_repr((max_rows, max_waiting))}"
            )
        decoder.interleave()
        self.decoder = decoder
        self._max_rows, self._max_waiting = max_rows, max_waiting
        self._batch = BatchRounds(decoder.target, decoder.drafts, decoder.costs, decoder.clock)
        self._waiting: deque[BatchRequest] = deque()
        self._rows: list[BatchRequest] = []
        self._closed = False
        self._submitting = ForkSafeLock()

    @property
    def busy(self) -> bool:
        """True while there are requests that wait or share passes."""
        return bool(self._rows or self._waiting)

    def submit(
        self,
        prompt: str | Sequence[int],
        *,
        tally: Tally | None = None,
        **options: Unpack[RequestOptions],
    ) -> BatchRequest:
        """Put a request in line; arguments are those of `SpeculativeDecoder.rounds`.

        Raises:
            QueueFullError: Too many wait already.
            ClosedError: The decoder was closed.
            BackendError: The prompt is empty, or holds what are no tokens. All else that is wrong with a request ends
                it when its turn comes.
        """
        if self._closed:
            raise ClosedError("this decoder was closed")
        with self._submitting:  # tokenizers are not made for several threads
            tokens = self.decoder.encode(prompt)
        if len(self._waiting) >= self._max_waiting:
            raise QueueFullError(
                f"{self._max_waiting} requests wait already; take rounds first, or set a larger max_waiting"
            )
        request = BatchRequest(tokens, tally=tally, **options)
        self._waiting.append(request)
        return request

    def rounds(self) -> Iterator[tuple[BatchRequest, Round]]:
        """Take rounds until no request is left; requests may be submitted meanwhile, and afterwards for another call.

        A request whose text was not ended by its last round has failed or was cancelled: see `BatchRequest.error`.
        """
        while self.busy:
            yield from self.step()

    def step(self) -> list[tuple[BatchRequest, Round]]:
        """Let requests join and leave, and take one round of each row."""
        self._join()
        try:
            return self._take() if self._rows else []
        except BaseException as error:
            # An interrupt leaves some rows ahead of what was delivered of them: nothing can be built on that.
            for row in self._rows:
                row.close(error)
            raise
        finally:
            self._rows = [row for row in self._rows if not row.done]

    def _take(self) -> list[tuple[BatchRequest, Round]]:
        began = self.decoder.clock.now()
        delivered: list[tuple[BatchRequest, Round]] = []
        with self.decoder.in_turn():
            outcomes = self._batch.take([row.opened.request for row in self._rows])
            seconds = self.decoder.clock.now() - began
            for row, outcome in zip(self._rows, outcomes, strict=True):
                if isinstance(outcome, BaseException):
                    row.close(outcome)
                    continue
                row.tokens.extend(outcome.tokens)
                delivered.append((row, outcome))
                failed = attempt(lambda row=row, outcome=outcome: row.opened.record(outcome, seconds))  # type: ignore[misc]
                if failed is not None or outcome.ended is not None:
                    row.close(failed)
        return delivered

    def generate(
        self, prompts: Sequence[str | Sequence[int]], **options: Unpack[RequestOptions]
    ) -> list[Generation]:
        """Decode several prompts to the end and return what came of each, in their order.

        Raises:
            PacelineError: A request failed; the others are taken to their ends first.
        """
        left, requests = deque(prompts), list[BatchRequest]()
        while left or not all(request.done for request in requests):
            while left and len(self._waiting) < self._max_waiting:
                requests.append(self.submit(left.popleft(), **options))
            self.step()
        for request in requests:
            if request.error is not None:
                raise request.error
        return [self.generation(request) for request in requests]

    def generation(self, request: BatchRequest) -> Generation:
        """Return what a request amounts to whose text has ended.

        Raises:
            BackendError: It has not: the request goes on, has failed or was cancelled.
        """
        if request.tally.ended is None:
            raise BackendError(
                "this request's text has not ended; take rounds until it is `done`, and look at its `error`"
            )
        return Generation.of(
            self.decoder.decode(request.tokens),
            request.tokens,
            request.tally,
            prompt_tokens=len(request.prompt),
            policy=describe(self.decoder.policy),
        )

    def close(self) -> None:
        """Let all requests go, each with a `ClosedError`, and close the decoder."""
        self._closed = True
        for request in [*self._rows, *self._waiting]:
            request.close(ClosedError("the decoder was closed before this request was done"))
        self._rows.clear()
        self._waiting.clear()
        self.decoder.close()

    def _join(self) -> None:
        """Let cancelled requests go, and let those that wait take the rows that are free."""
        for row in self._rows:
            if row.cancelled:
                row.close(row.reason)
        self._rows = [row for row in self._rows if not row.done]
        while self._waiting and len(self._rows) < self._max_rows:
            request = self._waiting.popleft()
            if request.cancelled:
                request.close(request.reason)
                continue
            try:
                request.open(self.decoder)
            except BaseException as error:
                request.close(error)  # it ends this request, and no other
                if isinstance(error, INTERRUPTS):
                    raise
            else:
                self._rows.append(request)
