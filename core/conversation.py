"""`Conversation`: the turns of a chat with a decoder's target, each of which reads only what is new."""

from __future__ import annotations

from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack, cast

from paceline.core.errors import CapabilityError
from paceline.core.sampling import check_options
from paceline.core.streaming import UNFINISHED, stream_text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.generation import Generation
    from paceline.core.records import Round
    from paceline.core.sampling import RequestOptions

Message: TypeAlias = "dict[str, Any]"
"""One message: `role` and what else the chat template reads, mostly `content`, perhaps `tool_calls`."""


@dataclass(slots=True)
class _Turn:
    """A turn to be taken: what was said before it, what is said, the tokens of both, and those of the answer so far."""

    history: list[Message]
    message: Message
    prompt: list[int]
    options: RequestOptions
    output: list[int] = field(default_factory=list)


class Conversation:
    """A conversation; each answer is what the target alone would have given to the same messages.

    An answer that is left before its end stays as far as it was delivered; if nothing was, the turn was not taken.

    Args:
        decoder: Answers.
        messages: What was said before.
        template: More that the chat template reads, such as `tools`.
        options: Of every answer, where a turn does not say otherwise.

    Attributes:
        messages: All that was said; may be edited between two turns.
    """

    def __init__(
        self,
        decoder: SpeculativeDecoder,
        messages: Sequence[Mapping[str, Any]] = (),
        template: Mapping[str, Any] | None = None,
        **options: Unpack[RequestOptions],
    ) -> None:
        check_options(options)
        self.messages: list[Message] = [dict(message) for message in messages]
        self._decoder = decoder
        self._template = dict(template or {})
        self._options = options
        self._under_way = False
        self._undone: Counter[int] = Counter()

    def say(
        self,
        message: str | Mapping[str, Any],
        *,
        on_round: Callable[[Round], None] | None = None,
        **options: Unpack[RequestOptions],
    ) -> Generation:
        """Say something and return the answer.

        Args:
            message: The text of a user, or a whole message, such as what a tool answers.
            on_round: Is shown each round as it ends.
            options: As in `SpeculativeDecoder.generate`, of this answer alone.

        Raises:
            PacelineError: As `rounds`, and as `SpeculativeDecoder.generate`.
        """
        turn = self._turn(message, options)

        def hear(done: Round) -> None:
            turn.output += done.tokens
            if on_round is not None:
                on_round(done)

        with self._taking(turn):
            return self._decoder.generate(turn.prompt, on_round=hear, **turn.options)

    def rounds(self, message: str | Mapping[str, Any], **options: Unpack[RequestOptions]) -> Generator[Round]:
        """Say something and take the answer round by round; once the iterator has ended, it stands in `messages`.

        Raises:
            BackendError: The target has no chat template, the template refuses the messages, or they do not fit the
                context.
            CapabilityError: Another answer is under way.
        """
        turn = self._turn(message, options)
        rounds = self._decoder.rounds(turn.prompt, **turn.options)
        return self._listen(turn, rounds)

    def stream(self, message: str | Mapping[str, Any], **options: Unpack[RequestOptions]) -> Iterator[str]:
        """Say something and take the answer piece by piece, none of which is split inside a character."""
        return stream_text(self.rounds(message, **options), self._decoder.text_stream())

    def undo(self) -> Message | None:
        """Take back the last message of the user with all that followed, and return it; None if there is none.

        Said again, it is answered with other draws, where tokens are drawn.
        """
        users = [place for place, message in enumerate(self.messages) if message.get("role") == "user"]
        if not users:
            return None
        message = self.messages[users[-1]]
        del self.messages[users[-1] :]
        self._undone[users[-1]] += 1
        return message

    def retry(
        self, *, on_round: Callable[[Round], None] | None = None, **options: Unpack[RequestOptions]
    ) -> Generation:
        """Take back the last turn and say the same again.

        Raises:
            CapabilityError: Nothing was said yet.
            PacelineError: As `say`.
        """
        message = self.undo()
        if message is None:
            raise CapabilityError(
                "nothing was said yet, so there is no answer to try again; say something first"
            )
        return self.say(message, on_round=on_round, **options)

    def _turn(self, message: str | Mapping[str, Any], options: RequestOptions) -> _Turn:
        said: Message = {"role": "user", "content": message} if isinstance(message, str) else dict(message)
        history = list(self.messages)
        prompt = self._decoder.encode_chat([*history, said], **self._template)
        # A type checker does not follow the union of two typed dicts.
        merged = cast("RequestOptions", {**self._options, **options})
        sampling = merged.get("sampling") or self._decoder.sampling
        merged["sampling"] = replace(sampling, seed=sampling.seed + self._undone[len(history)])
        return _Turn(history, said, prompt, merged)

    def _listen(self, turn: _Turn, rounds: Generator[Round]) -> Generator[Round]:
        with self._taking(turn), closing(rounds):
            for done in rounds:
                turn.output += done.tokens
                yield done

    @contextmanager
    def _taking(self, turn: _Turn) -> Iterator[None]:
        """Take a turn: however it ends, the message and what was delivered of the answer are said."""
        if self._under_way or self.messages != turn.history:
            raise CapabilityError(
                "this conversation is in the middle of another answer, or has gone on since this one was asked for; "
                "take an answer to its end or close its iterator before you say more"
            )
        self._under_way = True
        try:
            yield
        finally:
            self._under_way = False
            if turn.output:
                # The last character of an answer that was cut may lack bytes.
                content = (self._decoder.decode(turn.output) or "").rstrip(UNFINISHED)
                self.messages += [turn.message, {"role": "assistant", "content": content}]
