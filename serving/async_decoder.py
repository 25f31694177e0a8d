"""`AsyncDecoder`: a decoder for an event loop, which takes many prompts at once and gives rounds, pieces or texts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError, ClosedError, DeadlineError, PacelineError, describe
from paceline.core.generation import Generation, Tally
from paceline.core.log import log
from paceline.core.records import Round
from paceline.core.sampling import check_options
from paceline.serving.scheduler import MAX_ACTIVE, Scheduler

if TYPE_CHECKING:
    from types import TracebackType

    from paceline.core.sampling import RequestOptions


LATE = "the request took longer than its deadline"
LONGEST_TOKEN = 32
"""Characters that the tokens of a prompt have on average at most; a longer text is refused without being encoded."""


class AsyncDecoder:
    """Decodes for many at once in an event loop: requests share rounds as in `BatchDecoder`, in a thread of its own.

    A request is let go when its task is cancelled or its iterator closed: before its next round its caches are freed,
    and the others go on. Each one logs `request_finished` in the end.

    Args:
        decoder: Used by nobody else from now on, and closed with this one.
        max_active: Requests that have begun at a time, each with caches of its own; the others wait in line.
    """

    def __init__(self, decoder: SpeculativeDecoder, *, max_active: int = MAX_ACTIVE) -> None:
        self.decoder = decoder
        self._closed = False
        self._scheduler = Scheduler(decoder, max_active=max_active)
        # Long prompts take seconds to encode. One thread for all, since tokenizers are not made for several, and so
        # that decoding keeps the other cores.
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="paceline-encoder")

    @property
    def max_active(self) -> int:
        """Requests that have begun at a time."""
        return self._scheduler.max_active

    def counts(self) -> tuple[int, int]:
        """Return how many requests have begun, and how many wait."""
        return self._scheduler.counts()

    async def encode(self, prompt: str | Sequence[int]) -> list[int]:
        """Return the tokens of a prompt that leaves room for at least one token more.

        Raises:
            BackendError: It is empty, too long, or holds tokens that the target does not have.
        """
        characters = len(prompt) if isinstance(prompt, str) else 0
        return await self._encoded(lambda: self.decoder.encode(prompt), characters)

    async def encode_chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> list[int]:
        """Return the tokens of a conversation, as `SpeculativeDecoder.encode_chat` does, if there is room for them.

        Raises:
            BackendError: The target has no chat template, the template refuses the messages, or they are too long.
        """
        characters = sum(map(len, _texts([messages, options])))
        return await self._encoded(lambda: self.decoder.encode_chat(messages, **options), characters)

    async def rounds(
        self,
        prompt: str | Sequence[int],
        *,
        tally: Tally | None = None,
        deadline_s: float | None = None,
        **options: Unpack[RequestOptions],
    ) -> AsyncGenerator[Round, None]:
        """Decode round by round, as `SpeculativeDecoder.rounds` does.

        Args:
            prompt: As for `SpeculativeDecoder.rounds`, as are `tally` and `options`.
            tally: Where the rounds are added up.
            deadline_s: Seconds from now that the request may take, waiting in line included.
            options: See `RequestOptions`.

        Raises:
            DeadlineError: It took longer; what was delivered is right.
            ClosedError: The decoder was closed before the text was done.
            PacelineError: As `SpeculativeDecoder.rounds`.
        """
        check_options(options)
        loop = asyncio.get_running_loop()
        sums = Tally() if tally is None else tally
        arrived: asyncio.Queue[Round | BaseException | None] = asyncio.Queue()
        began, late = loop.time(), False
        tokens = list(prompt) if not isinstance(prompt, str) else await self.encode(prompt)

        def deliver(item: Round | BaseException | None) -> None:
            if not isinstance(item, Round):
                with suppress(Exception):  # a log that fails must not end the thread
                    _log_end(sums, len(tokens), loop.time() - began, "deadline" if late else item)
            with suppress(RuntimeError):  # the loop is closed, so nobody waits
                loop.call_soon_threadsafe(arrived.put_nowait, item)

        def expire() -> None:
            nonlocal late
            late = True
            # Two errors: each is told what was delivered, and the reader may have taken less than was decoded.
            task.cancel(DeadlineError(LATE))
            arrived.put_nowait(DeadlineError(LATE))

        task = self._scheduler.submit(tokens, deliver, tally=sums, **options)
        timer = None if deadline_s is None else loop.call_at(began + deadline_s, expire)
        try:
            while (done := await arrived.get()) is not None:
                if isinstance(done, BaseException):
                    raise done
                yield done
        finally:
            task.cancel()
            if timer is not None:
                timer.cancel()

    async def stream(
        self,
        prompt: str | Sequence[int],
        *,
        deadline_s: float | None = None,
        **options: Unpack[RequestOptions],
    ) -> AsyncGenerator[str, None]:
        """Decode piece by piece: text leaves when a round ends, and is never split inside a character.

        What was delivered before an error comes before the error. Arguments and errors are those of `rounds`.
        """
        text, problem = self.decoder.text_stream(), None
        running = self.rounds(prompt, deadline_s=deadline_s, **options)
        async with aclosing(running):
            try:
                async for done in running:
                    if piece := text.push(done.tokens):
                        yield piece
            except PacelineError as error:
                problem = error
        if piece := text.finish():
            yield piece
        if problem is not None:
            raise problem

    async def generate(
        self,
        prompt: str | Sequence[int],
        *,
        deadline_s: float | None = None,
        **options: Unpack[RequestOptions],
    ) -> Generation:
        """Decode to the end and return tokens, text and totals. Arguments and errors are those of `rounds`.

        Raises:
            PacelineError: As `rounds`; `delivered` of the error holds the tokens of the rounds before it.
        """
        loop, tally, output = asyncio.get_running_loop(), Tally(), list[int]()
        began = loop.time()
        tokens = await self.encode(prompt)
        running = self.rounds(
            tokens,
            tally=tally,
            deadline_s=None if deadline_s is None else deadline_s - (loop.time() - began),
            **options,
        )
        try:
            async with aclosing(running):
                async for done in running:
                    output.extend(done.tokens)
            text = self.decoder.decode(output)
        except PacelineError as error:
            error.delivered = tuple(output)
            raise
        policy = describe(self.decoder.policy)
        return Generation.of(text, output, tally, prompt_tokens=len(tokens), policy=policy)

    def close(self) -> None:
        """Let all requests go, each with a `ClosedError`, and close the decoder; takes some seconds at most."""
        self._closed = True
        self._encoder.shutdown(wait=False)
        self._scheduler.stop()

    async def aclose(self) -> None:
        """Close, without holding up the event loop."""
        await asyncio.to_thread(self.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trail: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _encoded(self, work: Callable[[], list[int]], characters: int) -> list[int]:
        longest = self.decoder.target.max_context
        if longest is not None and characters > LONGEST_TOKEN * longest:
            raise BackendError(
                f"the prompt has {characters} characters and the target's context ends at {longest} tokens; "
                "shorten the prompt"
            )
        if self._closed:
            raise ClosedError("this decoder was closed")
        tokens = await asyncio.get_running_loop().run_in_executor(self._encoder, work)
        if longest is not None and len(tokens) >= longest:
            raise BackendError(
                f"the prompt has {len(tokens)} tokens and the target's context ends at {longest}; shorten the prompt"
            )
        return tokens


def _texts(value: object) -> Iterator[str]:
    """Yield every text in nested mappings and sequences."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value.items()))
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner)


def _log_end(
    tally: Tally, prompt_tokens: int, seconds: float, end: Literal["deadline"] | BaseException | None
) -> None:
    totals = tally.totals()
    if isinstance(end, BaseException):
        ended, error = "error", {"error": type(end).__name__}  # what it says may quote the prompt
    else:
        ended, error = end or tally.ended or "cancelled", {}
    log.info(
        "request_finished",
        ended=ended,
        prompt_tokens=prompt_tokens,
        tokens=totals.emitted,
        rounds=totals.rounds,
        drafted=totals.drafted,
        accepted=totals.accepted,
        seconds=round(seconds, 3),
        **error,
    )
