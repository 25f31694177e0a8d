"""`SpeculativeDecoder`: a target, its drafts and a policy, ready to take prompts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Unpack

from paceline.core.clock import WallClock
from paceline.core.conversation import Conversation
from paceline.core.costs import LiveCosts
from paceline.core.decoder_lock import DecoderLock
from paceline.core.errors import BackendError, PacelineError, describe
from paceline.core.files import Closing
from paceline.core.forking import ForkSafeLock
from paceline.core.generation import Failure, Generation, Tally
from paceline.core.guards.draft import Drafts, usable_drafts
from paceline.core.guards.policy import PlainDecoding, PolicyGuard, check_fit
from paceline.core.guards.target import TargetGuard, check_target, perplexity
from paceline.core.log import log
from paceline.core.loop import Request
from paceline.core.observing import Observing, RequestObserver
from paceline.core.optional_protocols import SupportsPrefixReuse
from paceline.core.prefixes import keeping
from paceline.core.sampling import GREEDY, RequestOptions, Sampling, check_sampling
from paceline.core.state.scope import PolicySource
from paceline.core.stopping import Stop, StopConditions, stop_criteria
from paceline.core.streaming import stream_text
from paceline.core.target_text import TargetText
from paceline.core.trace import Tracing

if TYPE_CHECKING:
    from paceline.core.protocols import Clock, Draft, Policy, Target
    from paceline.core.records import Round
    from paceline.core.state.checkpoint import Restore
    from paceline.core.trace import TraceWriter


CONVERSATION_CACHES = 2
"""Caches kept for conversations: one for the one that goes on, and one for a request in between."""


class SpeculativeDecoder(TargetText, Closing):
    """Decodes prompts with a target, speeded up by drafts as a policy decides; the text is the target's own.

    Args:
        target: The model whose output is wanted.
        drafts: What may propose tokens, by name; none at all is plain decoding.
        policy: A policy, which goes on learning from request to request, or a function that makes a fresh one for
            each request.
        clock: Where seconds come from; a wall clock by default.
        costs: The cost model to go on with; by default one that starts empty. It learns over all requests.
        trace: Where every finished round is written.
        on_policy_error: "raise", or "fallback": log a policy or draft that fails and finish the text without it.
        eos: Tokens that end a text; the target's own by default.
        max_new_tokens: The most tokens of a text where a call does not say otherwise.
        sampling: How tokens are drawn where a call does not say otherwise; by default decoding is greedy.
        stop: Where texts end where a call does not say otherwise; see `rounds`.
        restore: Called with each policy before its first round: gives it what is known, and returns what saves what
            it learns; saved when the decoder is closed, a policy made for one request when that ends.
        turn: Entered around each round, for decoders that share a policy; a lock by default.
        interleaved: Whether several requests may be under way, of which the caller takes one round at a time. Without
            it a request that begins within another one is an error.
        observer: Sees each request begin, advance and end.
        prefix_caches: The most caches of finished requests that each model keeps, so that a prompt which begins as an
            earlier one did is read from there on. None keeps some for conversations (see `conversation`), 0 none ever.

    Raises:
        ContractError: Target, a draft or the policy lacks what it must have; drafts and policies that do are left out
            under "fallback".
        CapabilityError: The policy does not fit the target or its drafts, or the target cannot sample.

    Attributes:
        failures: What failed in the latest request and was gone on without, once it is over.
        clock: Where seconds come from.
        sampling, stop: Settings of requests that do not say otherwise.
        turn: Entered around each round. Whoever else looks at the policy enters it first.
    """

    def __init__(
        self,
        target: Target,
        drafts: Mapping[str, Draft],
        policy: Policy | Callable[[], Policy],
        *,
        clock: Clock | None = None,
        costs: LiveCosts | None = None,
        trace: TraceWriter | None = None,
        on_policy_error: Literal["raise", "fallback"] = "raise",
        eos: frozenset[int] | None = None,
        max_new_tokens: int = 256,
        sampling: Sampling = GREEDY,
        stop: Stop = (),
        restore: Restore | None = None,
        turn: AbstractContextManager[object] | None = None,
        interleaved: bool = False,
        observer: RequestObserver | None = None,
        prefix_caches: int | None = None,
    ) -> None:
        check_target(target)
        self.target = target
        self._fallback = on_policy_error == "fallback"
        self.failures: tuple[Failure, ...] = ()
        left_out: list[Failure] = []
        self.drafts = usable_drafts(drafts, left_out, fallback=self._fallback)
        self._left_out = tuple(left_out)
        self._prefix_caches: int | None = None
        if prefix_caches is not None:
            self._keep_prefixes(prefix_caches)
            if prefix_caches and not isinstance(self.target, SupportsPrefixReuse):
                log.warning("prefixes_not_kept", target=describe(target), action="every prompt is read whole")
        self.costs = costs if costs is not None else LiveCosts()
        self.clock = clock if clock is not None else WallClock()
        self._tracing = Tracing(trace, fallback=self._fallback)
        self._observing = Observing(observer)
        self._eos = target.eos if eos is None else eos
        self._max_new_tokens = max_new_tokens
        self.sampling = sampling
        self.stop = (stop,) if isinstance(stop, str) else tuple(stop)
        self.turn = turn if turn is not None else ForkSafeLock()
        self._lock = DecoderLock(interleaved=interleaved)
        stop_criteria(stop, target.codec)  # refuses now what would be refused at the first prompt
        check_sampling(target, sampling)
        self._policies = PolicySource(
            policy,
            # A partial, not a closure over `self`: a decoder that is let go must free its policy at once.
            fits=partial(check_fit, capabilities=target.capabilities, drafts=self.drafts),
            restore=restore,
            fallback=self._fallback,
        )

    @property
    def policy(self) -> Policy:
        """The policy at work: the one given, or the one made for the latest request."""
        return self._policies.policy

    def rounds(
        self,
        prompt: str | Sequence[int],
        *,
        tally: Tally | None = None,
        **options: Unpack[RequestOptions],
    ) -> Generator[Round]:
        """Decode round by round; the caller owns the loop and may leave it at any time.

        Nothing is computed before the first round is asked for.

        Args:
            prompt: Text, or tokens when the target has no tokenizer or the caller prefers them.
            tally: Where the rounds are added up.
            options: See `RequestOptions`.

        Raises:
            BackendError: The prompt is empty, does not fit the context, or text is given without a tokenizer.
            CapabilityError: Tokens shall be drawn or logits processed, and the target cannot do that.
            ContractError: A policy, draft or target broke the contract of a round.
        """
        tokens = self.encode(prompt)
        return self._rounds(tokens, Tally() if tally is None else tally, *self._settings(tokens, **options))

    def stream(self, prompt: str | Sequence[int], **options: Unpack[RequestOptions]) -> Iterator[str]:
        """Decode piece by piece: text leaves when a round ends, and is never split inside a character."""
        return stream_text(self.rounds(prompt, **options), self.text_stream())

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        on_round: Callable[[Round], None] | None = None,
        **options: Unpack[RequestOptions],
    ) -> Generation:
        """Decode to the end and return tokens, text and totals; `on_round` is shown each round as it ends.

        Raises:
            PacelineError: As `rounds`; `delivered` of the error holds the tokens of the rounds before it.
        """
        tokens = self.encode(prompt)
        tally = Tally()
        settings, output = self._settings(tokens, **options), list[int]()
        try:
            for done in self._rounds(tokens, tally, *settings):
                output.extend(done.tokens)
                if on_round is not None:
                    on_round(done)
            text = self.decode(output)
        except PacelineError as error:
            error.delivered = tuple(output)
            raise
        return Generation.of(text, output, tally, prompt_tokens=len(tokens), policy=describe(self.policy))

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        template: Mapping[str, Any] | None = None,
        on_round: Callable[[Round], None] | None = None,
        **options: Unpack[RequestOptions],
    ) -> Generation:
        """Answer a conversation, reading what an earlier call has not read; `conversation` keeps the messages as well.

        Args:
            messages: As in `encode_chat`.
            template: More that the template reads, such as `tools`.
            on_round: As in `generate`.
            options: As in `generate`.

        Raises:
            PacelineError: As `encode_chat` and `generate`.
        """
        self._keep_prefixes(CONVERSATION_CACHES)
        return self.generate(self.encode_chat(messages, **(template or {})), on_round=on_round, **options)

    def conversation(
        self,
        system: str | None = None,
        *,
        messages: Sequence[Mapping[str, Any]] = (),
        template: Mapping[str, Any] | None = None,
        **options: Unpack[RequestOptions],
    ) -> Conversation:
        """Begin a conversation, or go on with one.

        Args:
            system: The target's instructions, a message before all others.
            messages: What was said before.
            template: More that the template reads, such as `tools`.
            options: As in `generate`, of every answer that does not say otherwise.
        """
        self._keep_prefixes(CONVERSATION_CACHES)
        instructions = [] if system is None else [{"role": "system", "content": system}]
        return Conversation(self, [*instructions, *messages], template, **options)

    def close(self) -> None:
        """Close the trace and save what was learnt, where the run asks for it.

        Requests under way are closed by closing their iterators.
        """
        try:
            with self.turn:
                self._policies.save()
        finally:
            self._tracing.close()

    def interleave(self) -> None:
        """Let several requests be under way from now on, of which the caller takes one round at a time."""
        self._lock.interleaved = True

    @contextmanager
    def opened(
        self, prompt: Sequence[int], *, tally: Tally, **options: Unpack[RequestOptions]
    ) -> Iterator[OpenedRequest]:
        """Open a request whose rounds somebody else takes, such as `BatchDecoder`; arguments are those of `rounds`."""
        tokens = self.encode(prompt)
        with self._opened(tokens, tally, *self._settings(tokens, **options)) as opened:
            yield opened

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Hold the decoder, and whatever shares its policy, while rounds are taken."""
        with self._lock, self.turn:
            yield

    def _rounds(
        self, tokens: list[int], tally: Tally, limits: StopConditions, sampling: Sampling
    ) -> Generator[Round]:
        with self._opened(tokens, tally, limits, sampling) as opened:
            while opened.request.ended is None:
                began = self.clock.now()
                with self.in_turn():
                    done = opened.request.round()
                    opened.record(done, self.clock.now() - began)
                yield done

    @contextmanager
    def _opened(
        self, tokens: list[int], tally: Tally, limits: StopConditions, sampling: Sampling
    ) -> Iterator[OpenedRequest]:
        with (
            self._lock.request(),
            self._observing.request(len(tokens), tally) as show,
            self._policies.request() as policy,
        ):
            opening = self.clock.now()
            request = self._open(policy, tokens, limits, sampling)
            try:
                with request, self._tracing.request(request, self.drafts) as write:
                    tally.prefill_s = self.clock.now() - opening
                    tally.cached_tokens = request.target.cached_tokens

                    def record(done: Round, seconds: float) -> None:
                        write(done)
                        tally.add(done, seconds)
                        show(done)

                    yield OpenedRequest(request, record)
            finally:
                unmade = (policy.failure,) if isinstance(policy, PlainDecoding) else ()
                tally.failures = self.failures = (*self._left_out, *unmade, *request.failures())

    def _open(self, policy: Policy, tokens: list[int], limits: StopConditions, sampling: Sampling) -> Request:
        vocabulary = self.target.vocabulary
        drafts = Drafts(self.clock, vocabulary, fallback=self._fallback)
        target = TargetGuard(self.target, tokens, sampling, vocabulary=vocabulary, fallback=self._fallback)
        request = Request(
            prompt=tuple(tokens),
            capabilities=self.target.capabilities,
            target=target,
            drafts=drafts,
            policy=PolicyGuard(policy, self.drafts, fallback=self._fallback),
            costs=self.costs,
            learn=self.costs.observe,
            clock=self.clock,
            limits=limits,
            fallback=self._fallback,
            output=[],
        )
        try:
            for name, draft in self.drafts.items():
                drafts.open(name, draft, tokens, sampling)
            if self._policies.perplexity:
                request.perplexity = perplexity(self.target, tokens, fallback=self._fallback)
        except BaseException as error:
            request.__exit__(type(error), error, None)
            raise
        return request

    def _keep_prefixes(self, count: int) -> None:
        """Keep so many caches, where nobody has said how many."""
        if count < 0:
            raise BackendError(f"prefix_caches must be at least 0, found {count}")
        if self._prefix_caches is None:
            self._prefix_caches = count
            self.target = keeping(self.target, count)
            self.drafts = {name: keeping(draft, count) for name, draft in self.drafts.items()}

    def _settings(
        self,
        prompt: list[int],
        *,
        max_new_tokens: int | None = None,
        stop: Stop | None = None,
        sampling: Sampling | None = None,
    ) -> tuple[StopConditions, Sampling]:
        """Return where a text ends and how its tokens are chosen."""
        if sampling is None:
            sampling = self.sampling
        else:
            check_sampling(self.target, sampling)
        codec = None if self.target.codec is None else self.codec()
        ends = stop_criteria(self.stop if stop is None else stop, codec)
        return StopConditions(self._room(len(prompt), max_new_tokens), self._eos, ends), sampling

    def _room(self, prompt_tokens: int, max_new_tokens: int | None) -> int:
        limit = self._max_new_tokens if max_new_tokens is None else max_new_tokens
        if limit < 1:
            raise BackendError(f"max_new_tokens must be at least 1, found {limit}")
        longest = self.target.max_context
        if longest is None:
            return limit
        if prompt_tokens >= longest:
            raise BackendError(
                f"the prompt has {prompt_tokens} tokens and the target's context ends at {longest}; shorten the prompt"
            )
        return min(limit, longest - prompt_tokens)


@dataclass(frozen=True, slots=True, eq=False)
class OpenedRequest:
    """A request under way.

    Attributes:
        request: Takes its rounds.
        record: Is shown each round, and the seconds that it took in all.
    """

    request: Request
    record: Callable[[Round, float], None]
