"""The target of one request at work, and its tokenizer: answers are checked, and what they raise names them.

No text can go on without its target. What was delivered before stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from paceline.core.errors import (
    INTERRUPTS,
    BackendError,
    ContractError,
    PacelineError,
    TargetError,
    answered,
    describe,
    short_repr,
)
from paceline.core.log import log
from paceline.core.optional_protocols import SupportsChat, SupportsPerplexity, SupportsTreeVerification
from paceline.core.proposals import TokenVerdict
from paceline.core.records import Capabilities
from paceline.core.sampling import open_target
from paceline.core.trees import PathVerdict, path_flaw

if TYPE_CHECKING:
    from paceline.core.guards.draft import Drafted
    from paceline.core.optional_protocols import TreeProposal
    from paceline.core.protocols import Codec, Target, TargetSession, Verdict
    from paceline.core.sampling import Sampling


T = TypeVar("T")


def ask_target(target: object, what: str, ask: Callable[..., T], *about: object) -> T:
    """Return what a target, its session or its tokenizer answers.

    Raises:
        TargetError: It raised something; names it. Errors of paceline's own pass as they are.
    """
    try:
        return ask(*about)
    except (*INTERRUPTS, PacelineError):
        raise
    except BaseException as error:
        raise TargetError(f"target {describe(target)} failed in {what}: {short_repr(error)}") from error


def check_target(target: Target) -> None:
    """Look over a target that nobody has asked yet.

    Raises:
        ContractError: It lacks something, or declares what is none; names it.
        BackendError: It raised something when asked what it is.
    """
    ask_target(target, "what it declares", _check_declared, target)


def check_target_session(target: Target, session: object) -> None:
    """Refuse a session that lacks what the loop will ask for."""
    for method in ("verify", "advance", "close"):
        if not callable(getattr(session, method, None)):
            raise _target_breach(target, f"open() returned {short_repr(session)}, which has no {method}()")


def perplexity(target: Target, prompt: Sequence[int], *, fallback: bool) -> float | None:
    """Return the perplexity of a prompt; None if the target cannot tell, under `fallback` also if it failed.

    Raises:
        BackendError, ContractError: It failed, or answered with what is no perplexity.
    """
    if not isinstance(target, SupportsPerplexity):
        return None
    try:
        return ask_target(target, "perplexity()", _perplexity, target, prompt)
    except PacelineError as error:
        if not fallback:
            raise
        log.warning("perplexity_failed", error=str(error), action="the policy goes without it")
        return None


def _perplexity(target: SupportsPerplexity, prompt: Sequence[int]) -> float | None:
    answer: object = target.perplexity(prompt)
    if answer is None or (isinstance(answer, float | int) and 0.0 <= answer < float("inf")):
        return answer
    raise _target_breach(target, f"a perplexity is a finite number or None, found {short_repr(answer)}")


class TargetGuard:
    """A session of a target.

    Raises:
        BackendError, ContractError: From every method: it failed, or its answer is none; names it.
    """

    def __init__(
        self, target: Target, prompt: Sequence[int], sampling: Sampling, *, vocabulary: int, fallback: bool
    ) -> None:
        self._vocabulary = vocabulary
        self._fallback = fallback
        self._lost: PacelineError | None = None
        session: TargetSession = ask_target(target, "open()", open_target, target, prompt, sampling)
        check_target_session(target, session)
        self.session = session

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt that stood in a kept cache; 0 where the session does not tell."""
        tokens: object = getattr(self.session, "cached_tokens", 0)
        return tokens if isinstance(tokens, int) else 0

    def verify(self, drafted: Drafted | None, answer: Verdict | BaseException | None = None) -> TokenVerdict:
        """Return the verdict on what was drafted; how many tokens that were is not asked where it waits.

        Args:
            drafted: What was drafted, if anything was.
            answer: What the target answered or raised, where it was asked for several requests together.
        """
        if self._lost is not None:
            raise self._lost
        verdict = ask_target(self.session, "verify()", self._verify, drafted, answer)
        if drafted is None or not drafted.is_async:
            self.check_verdict(verdict, drafted)
        return verdict

    def check_verdict(self, verdict: TokenVerdict, drafted: Drafted | None) -> None:
        """Refuse a verdict on more tokens than were proposed, and a path that is not in the tree."""
        length = 0 if drafted is None else drafted.count
        if not 0 <= verdict.accepted <= length or len(verdict.tokens) != verdict.accepted + 1:
            raise _target_breach(
                self.session,
                f"of {length} tokens proposed it accepted {verdict.accepted} and gave {len(verdict.tokens)} tokens",
            )
        if drafted is not None and drafted.is_tree:
            problem = path_flaw(cast("TreeProposal", drafted.proposal), verdict)
            if problem is not None:
                raise _target_breach(self.session, problem)

    def advance(self, tokens: Sequence[int]) -> None:
        """Show the target the tokens of the round.

        Under `fallback` a failure is kept until the next round asks for a verdict, so that this one is delivered.
        """
        try:
            ask_target(self.session, "advance()", self.session.advance, tokens)
        except PacelineError as error:
            if not self._fallback:
                raise
            self._lost = error

    def close(self) -> list[BackendError]:
        """Close the session, and return what went wrong."""
        try:
            ask_target(self.session, "close()", self.session.close)
        except PacelineError as error:
            return [error if isinstance(error, BackendError) else BackendError(str(error))]
        return []

    def _verify(self, drafted: Drafted | None, answer: Verdict | BaseException | None) -> TokenVerdict:
        if answer is not None:
            verdict = answered(answer)
        elif drafted is not None and drafted.is_tree:
            verdict = self._session_of_trees.verify_tree(cast("TreeProposal", drafted.proposal))
        else:
            verdict = self.session.verify(None if drafted is None else drafted.proposal)
        accepted, tokens = verdict.accepted, tuple(verdict.tokens)
        if not isinstance(accepted, int):
            raise _target_breach(
                self.session, f"it accepted {short_repr(accepted)} tokens, which is no count"
            )
        for token in tokens:
            if not isinstance(token, int) or not 0 <= token < self._vocabulary:
                raise _target_breach(
                    self.session, f"it gave {short_repr(token)}, which is no token of its {self._vocabulary}"
                )
        if drafted is not None and drafted.is_tree:
            return PathVerdict(accepted, tokens, self._path(verdict))
        return TokenVerdict(accepted, tokens)

    @property
    def _session_of_trees(self) -> SupportsTreeVerification:
        if not isinstance(self.session, SupportsTreeVerification):
            raise _target_breach(
                self.session,
                "its target's capabilities say that it verifies trees, but it has no verify_tree()",
            )
        return self.session

    def _path(self, verdict: Verdict) -> tuple[int, ...]:
        path: object = getattr(verdict, "path", None)
        if not isinstance(path, Sequence) or not all(isinstance(node, int) for node in path):
            raise _target_breach(
                self.session,
                f"verify_tree() must return a verdict with its `path`, found {short_repr(verdict)}",
            )
        return tuple(path)


def _check_declared(target: Target) -> None:
    vocabulary: object = target.vocabulary
    if not isinstance(vocabulary, int) or vocabulary < 1:
        raise _target_breach(target, f"vocabulary must be a number of tokens, found {short_repr(vocabulary)}")
    capabilities: object = target.capabilities
    if not isinstance(capabilities, Capabilities):
        raise _target_breach(target, f"capabilities must be a Capabilities, found {short_repr(capabilities)}")
    longest: object = target.max_context
    if longest is not None and not isinstance(longest, int):
        raise _target_breach(
            target, f"max_context must be a number of tokens or None, found {short_repr(longest)}"
        )
    ends: object = target.eos
    if not isinstance(ends, frozenset | set) or not all(isinstance(token, int) for token in ends):
        raise _target_breach(target, f"eos must be a frozenset of tokens, found {short_repr(ends)}")
    if not callable(getattr(target, "open", None)):
        raise _target_breach(target, "it has no open()")


def _target_breach(target: object, message: str) -> ContractError:
    return ContractError(f"target {describe(target)}", message)


class GuardedCodec:
    """A tokenizer whose failures are errors that name it.

    Raises:
        BackendError: From every method: it raised something.
        ContractError: It returned what is no text, or no tokens.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def encode(self, text: str) -> list[int]:
        """Return the tokens of `text`."""
        return self._tokens("encode()", ask_target(self._codec, "encode()", self._codec.encode, text))

    def encode_chat(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> list[int]:
        """Return the tokens of a conversation; without a chat template that is a BackendError."""
        tokens: object = None
        if isinstance(self._codec, SupportsChat):
            tokens = ask_target(self._codec, "encode_chat()", self._codec.encode_chat, messages, options)
        if tokens is None:
            raise BackendError(
                "the target has no chat template, so it takes no messages; give the prompt as text, or a target that "
                "was trained for conversations (its name often ends in -Instruct or -Chat)"
            )
        return self._tokens("encode_chat()", tokens)

    @property
    def chat_template(self) -> str | None:
        """The chat template, where the tokenizer shows one."""
        template: object = getattr(self._codec, "chat_template", None)
        return template if isinstance(template, str) else None

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens`."""
        text: object = ask_target(self._codec, "decode()", self._codec.decode, tokens)
        if not isinstance(text, str):
            raise self._breach(f"decode() must return text, found {short_repr(text)}")
        return text

    def _tokens(self, method: str, tokens: object) -> list[int]:
        if not isinstance(tokens, Sequence) or isinstance(tokens, str):
            raise self._breach(f"{method} must return a list of tokens, found {short_repr(tokens)}")
        return list(tokens)

    def _breach(self, message: str) -> ContractError:
        return ContractError(f"tokenizer {describe(self._codec)} of the target", message)
