"""A decoder for an event loop: requests go in, rounds come out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError
from paceline.core.generation import Tally
from paceline.core.optional_protocols import SupportsChat
from paceline.core.protocols import Codec
from paceline.core.records import Round
from paceline.core.sampling import Sampling
from paceline.serving.scheduler import RoundRobinScheduler

LONGEST_TOKEN = 32
"""Characters that the tokens of a prompt have on average at most; a longer text is refused without being encoded."""

Messages = Sequence[dict[str, str]]
"""A conversation: mappings with "role" and "content"."""


class DecoderEngine:
    """A decoder of paceline behind the HTTP interface.

    Args:
        decoder: Used by nobody else from now on.
        model: The name clients know the model by.
        sampling, stop: What holds where a request does not say otherwise.

    Raises:
        BackendError: The target has no tokenizer.
    """

    def __init__(
        self, decoder: SpeculativeDecoder, model: str, *, sampling: Sampling, stop: Sequence[str] = ()
    ) -> None:
        if decoder.target.codec is None:
            raise BackendError("this target has no tokenizer, and the HTTP interface speaks text")
        self.model, self.sampling = model, sampling
        self.codec: Codec = decoder.target.codec
        self.decoder = decoder
        self.requests, self.tally = 0, Tally()  # of all that was decoded; under the lock
        self.lock = threading.Lock()
        self._stop = tuple(stop)
        self._scheduler = RoundRobinScheduler(self.lock, self.count)
        self._scheduler.start()

    def count(self, done: Round | None) -> None:
        """Count a round, or with None a request that begins; called under the lock."""
        if done is None:
            self.requests += 1
        else:
            self.tally.add(done, done.total_s)

    def sums(self) -> dict[str, float]:
        """Return what was counted so far, under names such as "rounds" and "gamma/3"."""
        totals = self.tally.totals()
        return {
            "requests": float(self.requests),
            **{name: float(getattr(totals, name)) for name in ("rounds", "drafted", "accepted", "emitted")},
            **{f"gamma/{gamma}": float(rounds) for gamma, rounds in totals.gammas.items()},
        }

    def encode(self, prompt: str | Sequence[int]) -> list[int]:
        """Return the tokens of a prompt that leaves room for at least one token more.

        Raises:
            BackendError: It is empty, too long, or holds tokens that the target does not have.
        """
        longest = self.decoder.target.max_context
        if longest is not None and isinstance(prompt, str):
            self._check_length(len(prompt), longest)
        tokens = self.decoder.encode(prompt)
        if longest is not None and len(tokens) >= longest:
            raise BackendError(
                f"the prompt has {len(tokens)} tokens and the target's context ends at {longest}; shorten the prompt"
            )
        return tokens

    def chat(self, messages: Messages) -> list[int] | None:
        """Return the tokens of a conversation as the tokenizer's chat template writes it, or None if it has none."""
        if not isinstance(self.codec, SupportsChat):
            return None
        longest = self.decoder.target.max_context
        if longest is not None:
            self._check_length(sum(len(message["content"]) for message in messages), longest)
        tokens = self.codec.encode_chat(messages, {})
        return None if tokens is None else self.encode(tokens)

    @staticmethod
    def _check_length(characters: int, longest: int) -> None:
        if characters > LONGEST_TOKEN * longest:
            raise BackendError(
                f"the prompt has {characters} characters and the target's context ends at {longest} tokens; "
                "shorten the prompt"
            )

    async def rounds(
        self, prompt: Sequence[int], *, max_new_tokens: int | None, stop: Sequence[str], sampling: Sampling
    ) -> AsyncIterator[Round]:
        """Decode, sharing the decoder with other requests round by round; closing the iterator lets the request go."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Round | BaseException | None] = asyncio.Queue()

        def deliver(done: Round | BaseException | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(arrived.put_nowait, done)

        task = self._scheduler.submit(
            lambda: self.decoder.rounds(
                prompt, max_new_tokens=max_new_tokens, stop=(*self._stop, *stop), sampling=sampling
            ),
            deliver,
        )
        try:
            while (done := await arrived.get()) is not None:
                if isinstance(done, BaseException):
                    raise done
                yield done
        finally:
            task.cancel()

    def close(self) -> None:
        """Let all requests go and close the decoder."""
        self._scheduler.stop()
        with self.lock:
            self.decoder.close()
