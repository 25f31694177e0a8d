"""The drafts of one request at work: what each answers is checked, and one that fails is gone on without.

A breach raises `ContractError` naming the draft: without this a policy would be blamed for numbers it was handed. With
`fallback` it is logged, the draft is closed, and the request goes on with the others: a draft can cost speed, never
tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from paceline.core.clock import DraftWork, ScoreWork
from paceline.core.errors import (
    INTERRUPTS,
    BackendError,
    ContractError,
    answered,
    describe,
    raised_at,
    short_repr,
)
from paceline.core.frozen import FrozenDict
from paceline.core.generation import Failure
from paceline.core.log import log
from paceline.core.optional_protocols import Memoryless, SupportsScoring, SupportsTrees
from paceline.core.proposals import drawn_flaw, is_async
from paceline.core.records import SIGNALS, DraftState, TokenSignals
from paceline.core.sampling import open_draft
from paceline.core.trees import TokenTree, depths, tree_flaw

if TYPE_CHECKING:
    from paceline.core.proposals import DraftControl
    from paceline.core.protocols import Clock, Draft, DraftSession, Proposal
    from paceline.core.records import Plan
    from paceline.core.sampling import Sampling


T = TypeVar("T")

_MAX_SIGNAL = 1e300

MAX_LENGTH = 2**31
"""Lags and match lengths stay below; no text is that long, and beyond it prices could overflow."""

NO_SCORES: Mapping[str, tuple[float, ...]] = FrozenDict()


def check_draft(name: str, draft: Draft) -> None:
    """Refuse a draft that lacks what it must have, before it is opened."""
    signals: object = getattr(draft, "signals", None)
    if not isinstance(signals, frozenset) or not signals <= SIGNALS:
        raise _draft_breach(
            name,
            draft,
            f"signals must be a frozenset of {', '.join(sorted(SIGNALS))}, or empty; found {short_repr(signals)}",
        )
    if not callable(getattr(draft, "open", None)):
        raise _draft_breach(name, draft, "it has no open()")


def check_draft_session(name: str, draft: Draft, session: object) -> None:
    """Refuse a session that lacks what the loop will ask for."""
    if missing := [
        method for method in ("draft", "advance", "close") if not callable(getattr(session, method, None))
    ]:
        raise _draft_breach(
            name, draft, f"open() returned {short_repr(session)}, which has no {missing[0]}()"
        )


def check_proposal(name: str, session: DraftSession, proposal: Proposal, gamma: int, vocabulary: int) -> int:
    """Return how many tokens are proposed; refuse too many, and what is no token of the target's."""
    if not isinstance(getattr(proposal, "tokens", None), Iterable):
        raise _draft_breach(
            name, session, f"it must propose an object with `tokens`, found {short_repr(proposal)}"
        )
    tokens = tuple(proposal.tokens)
    if not len(tokens) == len(proposal) <= gamma:
        raise _draft_breach(
            name, session, f"it was asked for {gamma} tokens and proposed {max(len(tokens), len(proposal))}"
        )
    for token in tokens:
        if not isinstance(token, int):
            raise _draft_breach(
                name, session, f"it proposed {short_repr(token)}; tokens are of Python's own type int"
            )
        if not 0 <= token < vocabulary:
            raise _draft_breach(
                name,
                session,
                f"it proposed {short_repr(token)}, which is no token of the target's {vocabulary}",
            )
    return len(tokens)


def check_tree(
    name: str, session: DraftSession, proposal: Proposal, plan: Plan, vocabulary: int
) -> tuple[int, ...]:
    """Return the parents of a tree; refuse one that is none, and one that is larger than planned."""
    count = check_proposal(name, session, proposal, plan.nodes, vocabulary)
    parents: object = getattr(proposal, "parents", None)
    if not isinstance(parents, Sequence):
        raise _draft_breach(
            name, session, f"draft_tree() must return a tree with its `parents`, found {short_repr(proposal)}"
        )
    tokens = tuple(proposal.tokens)
    problem = tree_flaw(tokens, parents, plan.width)
    if problem is None and isinstance(proposal, TokenTree) and proposal.draft_probs is not None:
        problem = drawn_flaw(tokens, proposal.draft_probs)
    if problem is None and count and (deepest := max(depths(parents))) > plan.gamma:
        problem = f"it was asked for a tree of depth {plan.gamma} and proposed one of {deepest}"
    if problem is not None:
        raise _draft_breach(name, session, problem)
    return tuple(parents)


def read_signals(name: str, session: DraftSession, proposal: Proposal) -> tuple[TokenSignals, ...]:
    """Return the signals of a proposal; refuse what is no record of finite numbers."""
    records = tuple(proposal.signals)
    for signals in records:
        if not isinstance(signals, TokenSignals):
            raise _draft_breach(name, session, f"signals are TokenSignals, found {short_repr(signals)}")
        for value in (signals.top1, signals.prob, signals.entropy, signals.margin):
            if value is not None and not (
                isinstance(value, float | int) and -_MAX_SIGNAL < value < _MAX_SIGNAL
            ):
                raise _draft_breach(name, session, f"signals are finite numbers, found {short_repr(signals)}")
        if not (signals.token is None or isinstance(signals.token, int)):
            raise _draft_breach(name, session, f"the signal `token` is a token, found {short_repr(signals)}")
    return records


def check_length(name: str, session: DraftSession, what: str, length: object) -> None:
    """Refuse a lag or a match length that is no count of tokens."""
    if not isinstance(length, int) or not 0 <= length < MAX_LENGTH:
        raise _draft_breach(
            name, session, f"{what} is a whole number of at least 0, found {short_repr(length)}"
        )


def check_scores(name: str, session: DraftSession, scores: Sequence[float], tokens: int) -> None:
    """Refuse scores that are not one probability for each token."""
    if len(scores) != tokens or not all(0.0 <= score <= 1.0 for score in scores):
        raise _draft_breach(
            name, session, f"{tokens} tokens need as many scores from 0 to 1, found {short_repr(scores)}"
        )


def _draft_breach(name: str, culprit: object, message: str) -> ContractError:
    return ContractError(f"draft {name!r}, {describe(culprit)}", message)


@dataclass(slots=True)
class Drafted:
    """A draft's proposal.

    Attributes:
        proposal: As the draft returned it, for the target.
        is_async: Whether it is read only after its verification.
        count: Its tokens, of a tree its depth; 0 until it was read.
        signals: Its signals, checked; empty until it was read.
        is_tree: Whether a tree was asked for, and drafted.
        parents: Those of a tree; empty until it was read.
    """

    proposal: Proposal
    is_async: bool
    count: int = 0
    signals: tuple[TokenSignals, ...] = ()
    is_tree: bool = False
    parents: tuple[int, ...] = ()


def usable_drafts(
    drafts: Mapping[str, Draft], failures: list[Failure], *, fallback: bool
) -> dict[str, Draft]:
    """Return the drafts that can be asked; under `fallback` the others are left out, and added to `failures`.

    Raises:
        ContractError: A draft lacks what it must have.
        BackendError: Looking at it raised something.
    """
    usable = {}
    for name, draft in drafts.items():
        try:
            check_draft(name, draft)
        except INTERRUPTS:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it raises is blamed on it
            failures.append(_refused(name, error, None, fallback=fallback))
        else:
            usable[name] = draft
    return usable


def _refused(name: str, error: BaseException, index: int | None, *, fallback: bool) -> Failure:
    """Say which draft failed: as an error, or under `fallback` as a warning and in what is returned."""
    if not fallback:
        if isinstance(error, ContractError | BackendError):
            raise error
        raise BackendError(f"draft {name!r} failed: {short_repr(error)}") from error
    reason, place, action = short_repr(error), raised_at(error), "going on without it"
    log.warning("draft_failed", draft=name, round=index, error=reason, place=place, action=action)
    return Failure(f"draft {name!r}", index, reason, place, action)


class Drafts:
    """Opened one by one with `open`; asked together from then on."""

    def __init__(self, clock: Clock, vocabulary: int, *, fallback: bool) -> None:
        self._clock = clock
        self._vocabulary = vocabulary
        self._fallback = fallback
        self._round: int | None = None
        self.failures: list[Failure] = []
        self.sessions: dict[str, DraftSession] = {}

    def open(self, name: str, draft: Draft, prompt: Sequence[int], sampling: Sampling) -> None:
        """Let a draft start the request."""
        self._ask(name, self._open, name, draft, prompt, sampling)

    def states(self, index: int) -> Mapping[str, DraftState]:
        """Return the state of each draft before a round, in the order listed."""
        self._round = index
        return FrozenDict(self._each(_state))

    def memoryless(self) -> frozenset[str]:
        """Return the drafts whose next token depends on nothing but the tokens before it."""
        return frozenset(self._each(_memoryless))

    def draft(
        self,
        plan: Plan,
        states: Mapping[str, DraftState],
        control: DraftControl | None,
        answer: Proposal | BaseException | None = None,
    ) -> Drafted | None:
        """Let the planned draft draft; None if it proposes nothing, or has failed, in this round or before.

        Args:
            plan: The plan of the round.
            states: Of the drafts, before it.
            control: What the draft must look at.
            answer: What the draft answered or raised, where it was asked for several requests together.
        """
        name = plan.draft
        if plan.gamma == 0 or name is None or name not in self.sessions:
            return None
        drafted = self._ask(name, self._propose, name, plan, control, answer)
        if drafted is None or drafted.is_async:
            return drafted
        self._clock.spend(DraftWork(name, drafted.count, states[name].lag))
        return drafted if drafted.count else None

    def read(self, plan: Plan, drafted: Drafted, accepted: int) -> None:
        """Check a proposal that was verified unread; whatever it was, the verdict that accepted some of it stands."""
        assert plan.draft is not None
        if self._ask(plan.draft, self._read, plan.draft, plan, drafted) is None:
            drafted.count, drafted.is_tree = accepted, False

    def score(self, plan: Plan, emitted: Sequence[int]) -> tuple[Mapping[str, tuple[float, ...]], float]:
        """Ask the drafts that the plan names what they would have made of the tokens delivered."""
        if not plan.score:
            return NO_SCORES, 0.0
        scores: dict[str, tuple[float, ...]] = {}
        reads: dict[str, int] = {}
        began = self._clock.now()
        for name in sorted(plan.score - {plan.draft}):
            if name in self.sessions and (answer := self._ask(name, self._score, name, emitted)) is not None:
                scores[name], lag = answer
                reads[name] = lag + len(emitted)
        if not scores:
            return NO_SCORES, 0.0
        self._clock.spend(ScoreWork(tuple(scores), reads))
        return FrozenDict(scores), self._clock.now() - began

    def advance(self, emitted: Sequence[int]) -> None:
        """Show every draft the tokens of the round."""
        for name, session in tuple(self.sessions.items()):
            self._ask(name, session.advance, emitted)

    def close(self) -> list[BackendError]:
        """Close every session, and return what went wrong."""
        failures = [(name, _closed(session)) for name, session in self.sessions.items()]
        self.sessions.clear()
        return [
            BackendError(f"draft {name!r} failed in close(): {short_repr(error)}")
            for name, error in failures
            if error is not None
        ]

    def _open(self, name: str, draft: Draft, prompt: Sequence[int], sampling: Sampling) -> None:
        session = open_draft(name, draft, prompt, sampling)
        self.sessions[name] = session
        check_draft_session(name, draft, session)

    def _each(self, ask: Callable[[str, DraftSession], T | None]) -> dict[str, T]:
        answers = (
            (name, self._ask(name, ask, name, session)) for name, session in tuple(self.sessions.items())
        )
        return {name: answer for name, answer in answers if answer is not None}

    def _propose(
        self, name: str, plan: Plan, control: DraftControl | None, answer: Proposal | BaseException | None
    ) -> Drafted:
        session, proposal, is_tree = self.sessions[name], answer, False
        if answer is not None:
            proposal = answered(answer)
        elif plan.nodes and isinstance(session, SupportsTrees):
            proposal, is_tree = session.draft_tree(plan.gamma, plan.nodes, plan.width, control), True
        else:
            proposal = session.draft(plan.gamma, control)
        drafted = Drafted(proposal, is_async(proposal, self._clock), is_tree=is_tree)
        if not drafted.is_async:
            self._read(name, plan, drafted)
        return drafted

    def _read(self, name: str, plan: Plan, drafted: Drafted) -> Drafted:
        session = self.sessions[name]
        if drafted.is_tree:
            parents = check_tree(name, session, drafted.proposal, plan, self._vocabulary)
            count = max(depths(parents), default=0)
        else:
            parents = ()
            count = check_proposal(name, session, drafted.proposal, plan.gamma, self._vocabulary)
        drafted.signals = read_signals(name, session, drafted.proposal)
        drafted.count, drafted.parents = count, parents
        return drafted

    def _score(self, name: str, emitted: Sequence[int]) -> tuple[tuple[float, ...], int] | None:
        session = self.sessions[name]
        if not isinstance(session, SupportsScoring):
            return None
        lag = _lag(name, session)
        scores = tuple(session.score(emitted))
        check_scores(name, session, scores, len(emitted))
        return scores, lag

    def _ask(self, name: str, ask: Callable[..., T], *about: object) -> T | None:
        """Return what a draft answers; None if it failed, and the request goes on without it."""
        try:
            return ask(*about)
        except INTERRUPTS:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it raises is blamed on it
            self._give_up(name, error)
            return None

    def _give_up(self, name: str, error: BaseException) -> None:
        """Say that a draft failed, and go on without it."""
        self.failures.append(_refused(name, error, self._round, fallback=self._fallback))
        session = self.sessions.pop(name, None)
        if session is not None and (problem := _closed(session)) is not None:
            log.warning("close_failed", draft=name, error=short_repr(problem))


def _closed(session: DraftSession) -> BaseException | None:
    """Close a session, and return what it raised."""
    try:
        session.close()
    except INTERRUPTS:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it raises, the others are closed
        return error
    return None


def _lag(name: str, session: DraftSession) -> int:
    lag = session.lag
    check_length(name, session, "a lag", lag)
    return lag


def _state(name: str, session: DraftSession) -> DraftState:
    match_length: int | None = getattr(session, "match_length", None)
    if match_length is not None:
        check_length(name, session, "a match length", match_length)
    return DraftState(_lag(name, session), match_length)


def _memoryless(_name: str, session: DraftSession) -> int | None:
    return 1 if isinstance(session, Memoryless) and session.memoryless else None
