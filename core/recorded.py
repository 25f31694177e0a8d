"""A text on record behind the loop: a target and drafts that look up in tables what models once did.

For every place of the text a table says how many tokens a draft would propose there, and how many of them the target
would accept. Replay and the testing kit let policies decode such texts, by the rounds of the loop and in virtual time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, NoReturn, cast

from paceline.core.clock import CostTableClock
from paceline.core.errors import TraceError
from paceline.core.frozen import FrozenDict
from paceline.core.guards.draft import Drafted, Drafts
from paceline.core.guards.target import TargetGuard
from paceline.core.loop import Request
from paceline.core.optional_protocols import SupportsTrees
from paceline.core.proposals import TokenProposal, TokenVerdict
from paceline.core.records import DraftState, Ended
from paceline.core.sampling import GREEDY
from paceline.core.stopping import StopConditions
from paceline.core.trees import ROOT, PathVerdict, depths, verify_tree_greedy

if TYPE_CHECKING:
    from paceline.core.guards.policy import PolicyGuard
    from paceline.core.optional_protocols import TreeProposal
    from paceline.core.proposals import DraftControl
    from paceline.core.protocols import Costs, Proposal, Verdict
    from paceline.core.records import Capabilities, Plan, Round, Signal, TokenSignals


class TextClock(CostTableClock):
    """Virtual time of a text on record. It is told where in the text work is done, and here makes nothing of it.

    Attributes:
        place: Tokens delivered before the round at hand.
        after: Tokens delivered after it.
    """

    place = after = 0

    def looked(self, draft: str, tokens: int) -> None:
        """Take note that a draft computed the signals of so many tokens."""

    def round_ends(self, place: int) -> None:
        """Take note that the next round begins after so many tokens."""
        self.place = place


@dataclass(slots=True, eq=False)
class DraftTable(ABC):
    """Table of one draft: its proposal at every place of a text.

    Attributes:
        name: The draft's.
        offered: By place, the tokens it proposes when asked for as many as there can be.
        agreed: By place, how many of those, from the first on, the target accepts.
        match_lengths: By place, the length of its match; None for drafts that do not tell it.
        caches: Whether it keeps a cache, so that it lags by every token delivered without it.
        short: Tokens it lags after a round that accepted all it proposed: 1 for a model, whose last token is never fed.
        signals: Those it delivers.
        scores: Whether it can say what it would have made of tokens of others.
    """

    name: str
    offered: Sequence[int]
    agreed: Sequence[int]
    _: KW_ONLY
    match_lengths: Sequence[int] | None = None
    caches: bool = True
    short: int = 1
    signals: frozenset[Signal] = frozenset()
    scores: bool = True

    def proposed(self, gamma: int, place: int) -> int:
        """Return how many tokens it proposes when asked for `gamma` at a place."""
        return min(self.offered[place], gamma)

    def match_length(self, place: int) -> int | None:
        """Return the length of its match at a place."""
        return None if self.match_lengths is None else self.match_lengths[place]

    def score(self, place: int, after: int) -> list[float]:
        """Return for each place of a stretch 1.0 where the first token that it proposes is right."""
        return [1.0 if agreed else 0.0 for agreed in self.agreed[place:after]]

    def session(self, draft: RecordedDraft, prompt_tokens: int) -> RecordedDraftSession:
        """Return the draft at work on a text."""
        kind = ScoringDraftSession if self.scores else RecordedDraftSession
        return kind(draft, prompt_tokens)

    @abstractmethod
    def row(self, signals: frozenset[Signal], place: int, count: int) -> Sequence[TokenSignals]:
        """Return the signals of the first `count` tokens or more that it proposes at a place, as far as known."""

    def row_ends(self, signals: frozenset[Signal], place: int) -> NoReturn:
        """Raise what asking for signals raises that are not known.

        Raises:
            TraceError: Always.
        """
        raise TraceError(f"draft {self.name!r}: its {', '.join(sorted(signals))} at {place} are not known")


@dataclass(frozen=True, slots=True)
class RecordedTarget:
    """The target of a text on record.

    Attributes:
        text: The text.
        clock: Told the places of the text.
        capabilities: What an engine can do that knows only what is on record.
        vocabulary: As of the text.
        eos: The last token, if the text ended by one.
        codec: None: texts on record are tokens.
        max_context: None: the text ends by itself.
    """

    text: RecordedText
    clock: TextClock
    capabilities: Capabilities
    vocabulary: int
    eos: frozenset[int]
    codec: None = None
    max_context: None = None

    def open(self, prompt: Sequence[int]) -> RecordedTargetSession:
        """Start the text from its beginning."""
        # After the end of the text the target would have gone on somehow; the loop cuts it off.
        return RecordedTargetSession((*self.text.tokens, 0), self.clock)

    def perplexity(self, prompt: Sequence[int]) -> float | None:
        """Return what is on record."""
        return self.text.perplexity


class RecordedTargetSession:
    """The recorded target at work."""

    def __init__(self, tokens: tuple[int, ...], clock: TextClock) -> None:
        self._tokens = tokens
        self._clock = clock
        self._place = 0
        clock.place = 0

    def verify(self, proposal: Proposal | None) -> TokenVerdict:
        """Accept tokens up to the first that is not the text's."""
        place = after = self._place
        tokens = self._tokens
        if proposal is not None:
            for token in proposal.tokens:
                if token != tokens[after]:
                    break
                after += 1
        self._clock.after = after + 1
        return TokenVerdict(after - place, tokens[place : after + 1])

    def verify_tree(self, proposal: TreeProposal) -> PathVerdict:
        """Accept the path through a tree that is the text's."""
        level, place, tokens = depths(proposal.parents), self._place, self._tokens
        verdict = verify_tree_greedy(
            proposal, lambda node: tokens[place if node == ROOT else place + level[node]]
        )
        self._clock.after = place + len(verdict.tokens)
        return verdict

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered."""
        self._place += len(tokens)
        self._clock.round_ends(self._place)

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class RecordedDraft:
    """One draft of a text on record.

    Attributes:
        table: What it does.
        tokens: The text.
        wrong: A token that is not in the text.
        clock: Told of signals that are looked at.
    """

    table: DraftTable
    tokens: tuple[int, ...]
    wrong: int
    clock: TextClock

    @property
    def signals(self) -> frozenset[Signal]:
        """Those on record."""
        return self.table.signals

    def open(self, prompt: Sequence[int]) -> RecordedDraftSession:
        """Start the text from its beginning."""
        return self.table.session(self, len(prompt))


class RecordedDraftSession:
    """A recorded draft at work.

    Attributes:
        lag: Tokens of the context, its last one not counted, that its cache lacks, if it has one.
    """

    def __init__(self, draft: RecordedDraft, prompt_tokens: int) -> None:
        self._draft = draft
        self._table = draft.table
        self._place = 0
        self._drafted = 0
        self.lag = prompt_tokens - 1 if draft.table.caches else 0

    @property
    def match_length(self) -> int | None:
        """The length of its match here; None for a draft that does not tell it."""
        return self._table.match_length(self._place)

    def draft(self, gamma: int, control: DraftControl | None) -> TokenProposal:
        """Propose what it proposed here: the text as far as it agreed, and then something else."""
        draft, table, place = self._draft, self._table, self._place
        count = table.proposed(gamma, place)
        signals: tuple[TokenSignals, ...] = ()
        if control is not None and count:
            signals = self._watched(control, count)
            count = len(signals)
            draft.clock.looked(table.name, count)
        self._drafted = count
        agreed = table.agreed[place]
        if agreed >= count:
            return TokenProposal(draft.tokens[place : place + count], signals)
        return TokenProposal(
            draft.tokens[place : place + agreed] + (draft.wrong,) * (count - agreed), signals
        )

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered."""
        emitted = len(tokens)
        self._place += emitted
        if not self._table.caches:
            return
        if self._drafted:
            self.lag = self._table.short if emitted > self._drafted else 0
            self._drafted = 0
        else:
            self.lag += emitted

    def close(self) -> None:
        """Do nothing."""

    def _watched(self, control: DraftControl, count: int) -> tuple[TokenSignals, ...]:
        """Return the signals of the tokens drafted until somebody says stop."""
        row = self._table.row(control.signals, self._place, count)
        for position, signals in enumerate(row[:count], start=1):
            if not control.goes_on(signals):
                return tuple(row[:position])
        if len(row) < count:
            self._table.row_ends(control.signals, self._place)
        return tuple(row[:count])


class ScoringDraftSession(RecordedDraftSession):
    """A recorded draft that can be asked what it would have made of tokens of others."""

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return 1.0 where the first token it would have proposed is right, and read the context."""
        self.lag = -len(tokens) if self._table.caches else 0
        return self._table.score(self._place, self._place + len(tokens))


class RecordedDrafts(Drafts):
    """The drafts of one request, whose answers need no check: they are ours. Each is asked for this request alone."""

    def states(self, index: int) -> Mapping[str, DraftState]:
        """Return the state of each draft before a round, in the order listed."""
        sessions = cast("Mapping[str, RecordedDraftSession]", self.sessions)
        return FrozenDict(
            {name: DraftState(session.lag, session.match_length) for name, session in sessions.items()}
        )

    def _propose(
        self, name: str, plan: Plan, control: DraftControl | None, answer: Proposal | BaseException | None
    ) -> Drafted:
        del answer
        session = self.sessions[name]
        if plan.nodes and isinstance(session, SupportsTrees):
            tree = session.draft_tree(plan.gamma, plan.nodes, plan.width, control)
            parents = tuple(tree.parents)
            return Drafted(tree, False, max(depths(parents), default=0), (), True, parents)
        proposal = session.draft(plan.gamma, control)
        return Drafted(proposal, False, len(proposal), tuple(proposal.signals))


class RecordedTargetGuard(TargetGuard):
    """The target of one request, whose verdicts need no check: they are ours. It is asked for this request alone."""

    def verify(self, drafted: Drafted | None, answer: Verdict | BaseException | None = None) -> TokenVerdict:
        """Return the verdict on what was drafted."""
        del answer
        if drafted is not None and drafted.is_tree:
            session = cast("RecordedTargetSession", self.session)
            return session.verify_tree(cast("TreeProposal", drafted.proposal))
        return cast("TokenVerdict", self.session.verify(None if drafted is None else drafted.proposal))

    def advance(self, tokens: Sequence[int]) -> None:
        """Show the target the tokens of the round."""
        self.session.advance(tokens)


@dataclass(frozen=True, slots=True)
class TextEnd(StopConditions):
    """Ends a text where it ended on record, whatever its tokens are.

    Attributes:
        length: Its tokens.
        ended: Why it ended there.
    """

    length: int = 0
    ended: Ended = "length"

    def cut(self, output: list[int], tokens: Sequence[int]) -> tuple[list[int], Ended | None]:
        """Return the part of `tokens` that belongs to the text, and why it was cut there if it was."""
        left = self.length - len(output)
        emitted = list(tokens[:left])
        output.extend(emitted)
        return emitted, self.ended if len(emitted) == left else None


@dataclass(frozen=True, slots=True)
class RecordedText:
    """A text on record.

    Attributes:
        prompt: Its tokens, or what stands for them.
        tokens: The text.
        ended: Why it ended.
        max_new_tokens: The limit on new tokens it was written under.
        drafts: By name, in the order listed.
        vocabulary: Number of tokens; the last one is wrong everywhere.
        perplexity: Of the prompt under the target, where it can be told.
    """

    prompt: Sequence[int]
    tokens: tuple[int, ...]
    ended: Ended
    max_new_tokens: int
    drafts: Mapping[str, DraftTable]
    vocabulary: int
    perplexity: float | None = None

    def target(self, capabilities: Capabilities, clock: TextClock) -> RecordedTarget:
        """Return its target."""
        eos = frozenset(self.tokens[-1:]) if self.ended == "eos" else frozenset[int]()
        return RecordedTarget(self, clock, capabilities, self.vocabulary, eos)

    def draft(self, name: str, clock: TextClock) -> RecordedDraft:
        """Return one of its drafts."""
        return RecordedDraft(self.drafts[name], self.tokens, self.vocabulary - 1, clock)

    def request(
        self,
        policy: PolicyGuard,
        capabilities: Capabilities,
        clock: TextClock,
        costs: Costs,
        learn: Callable[[Round], object],
    ) -> Request:
        """Return a request for it, to be entered, whose rounds the policy decides; arguments as of `Request`."""
        target = self.target(capabilities, clock)
        request = Request(
            prompt=self.prompt,
            capabilities=capabilities,
            target=RecordedTargetGuard(
                target, self.prompt, GREEDY, vocabulary=self.vocabulary, fallback=False
            ),
            drafts=RecordedDrafts(clock, self.vocabulary, fallback=False),
            policy=policy,
            costs=costs,
            learn=learn,
            clock=clock,
            limits=TextEnd(self.max_new_tokens, target.eos, (), len(self.tokens), self.ended),
            fallback=False,
            output=[],
            perplexity=self.perplexity,
        )
        for name in self.drafts:
            request.drafts.open(name, self.draft(name, clock), self.prompt, GREEDY)
        return request
