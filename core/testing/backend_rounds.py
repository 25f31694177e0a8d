"""Random rounds against one backend: what `check_backend` drives.

Every rule is a round, or several, that a loop may well take; none knows how a session keeps its state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from paceline.core.abilities import SupportsScoring
from paceline.core.proposals import TokenProposal
from paceline.core.records import SIGNALS, Signal
from paceline.core.sampling.opening import open_draft, open_target
from paceline.core.sampling.settings import GREEDY, Sampling
from paceline.core.testing.reference import Reference, StopAfter, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.protocols import DraftSession, Proposal, TargetSession

MAX_GAMMA = 6
GAMMAS = st.integers(1, MAX_GAMMA)
COUNTS = st.integers(0, MAX_GAMMA)


class BackendRounds(RuleBasedStateMachine):
    """One request after another on one pair of models; subclasses set `reference` and `starts`.

    Where sessions shall draw, `sampling` leaves them the likeliest token alone, so that they write what greedy ones do.
    """

    reference: ClassVar[Reference]
    sampling: ClassVar[Sampling] = GREEDY
    starts: ClassVar[Sequence[tuple[int, ...]]]

    context: tuple[int, ...]
    target: TargetSession
    draft: DraftSession | None
    drafted: bool

    @initialize(choice=st.integers(0, 2**16))
    def begin(self, choice: int) -> None:
        """Choose a prompt."""
        self.reference.forget()
        self.open(self.starts[choice % len(self.starts)])

    def open(self, context: tuple[int, ...]) -> None:
        """Open fresh sessions."""
        self.context = context
        draft = self.reference.draft
        self.target = open_target(self.reference.target, context, self.sampling)
        self.draft = open_draft("draft", draft, context, self.sampling) if draft is not None else None
        self.drafted = False

    def close(self) -> None:
        """Close both sessions, twice."""
        for session in (self.target, self.draft):
            if session is not None:
                session.close()
                session.close()

    def propose(self, gamma: int, control: StopAfter | None) -> Proposal | None:
        """Draft, and compare with a fresh draft; without a draft there is no proposal."""
        if self.draft is None:
            return None
        proposal = self.draft.draft(gamma, control)
        self.drafted = self.drafted or len(proposal) > 0
        self.reference.judge_draft(self.context, gamma, proposal, control)
        return proposal

    def finish(self, proposal: Proposal | None, cut: int) -> None:
        """Verify, deliver all but the last `cut` tokens (at least one), and look at the lag."""
        verdict = self.target.verify(proposal)
        self.reference.judge(self.context, proposal, verdict)
        emitted = tuple(verdict.tokens)[: max(1, len(verdict.tokens) - cut)]
        self.target.advance(emitted)
        self.context += emitted
        if self.draft is not None:
            # A draft that has drafted has read the whole context before this round.
            most = len(emitted) - 1 if self.drafted else self.draft.lag + len(emitted)
            self.draft.advance(emitted)
            lag = self.draft.lag
            require(0 <= lag <= most, f"S1: the draft's lag is {lag}; at most {most} tokens can be missing")
        self.drafted = False

    def has_room(self) -> bool:
        """Tell whether a few more rounds stay within what the target can read."""
        return self.reference.fits(self.context, 2 * MAX_GAMMA)

    @precondition(has_room)
    @rule(gamma=GAMMAS, cut=COUNTS)
    def speculate(self, gamma: int, cut: int) -> None:
        """Take a round; sometimes its emission is cut, as by an end-of-sequence token."""
        self.finish(self.propose(gamma, None), cut)

    @precondition(has_room)
    @rule(gamma=GAMMAS, after=COUNTS, wanted=st.sets(st.sampled_from(sorted(SIGNALS))))
    def control(self, gamma: int, after: int, wanted: set[Signal]) -> None:
        """Take a round with signals, whose drafting ends after so many tokens."""
        offered = self.reference.draft.signals if self.reference.draft is not None else frozenset()
        self.finish(self.propose(gamma, StopAfter(offered & wanted, after)), 0)

    @precondition(has_room)
    @rule(gamma=GAMMAS)
    def draft_in_vain(self, gamma: int) -> None:
        """Draft, and verify something else."""
        self.propose(gamma, None)
        self.finish(None, 0)

    @precondition(has_room)
    @rule(count=st.integers(1, 4))
    def idle(self, count: int) -> None:
        """Decode plainly for a few rounds, so that the draft falls behind."""
        for _ in range(count):
            self.finish(None, 0)

    @precondition(has_room)
    @rule(count=st.integers(1, 4))
    def look_on(self, count: int) -> None:
        """Verify tokens from elsewhere while the draft, if it can, scores what is delivered."""
        guess = self.reference.continuation(self.context, count)
        verdict = self.target.verify(TokenProposal(guess))
        self.reference.judge(self.context, TokenProposal(guess), verdict)
        if isinstance(self.draft, SupportsScoring):
            self.reference.judge_scores(self.context, tuple(verdict.tokens), self.draft.score(verdict.tokens))
        self.target.advance(verdict.tokens)
        self.context += tuple(verdict.tokens)
        if self.draft is not None:
            self.draft.advance(verdict.tokens)

    @precondition(has_room)
    @rule(right=COUNTS, noise=st.lists(st.integers(0, 2**16), max_size=3), cut=COUNTS)
    def borrow(self, right: int, noise: list[int], cut: int) -> None:
        """Verify a proposal from elsewhere: some tokens as the target wants them, then whatever."""
        others = (token % self.reference.target.vocabulary for token in noise)
        guess = (*self.reference.continuation(self.context, right), *others)
        self.finish(TokenProposal(guess) if guess else None, cut)

    @rule(gamma=COUNTS)
    def abandon(self, gamma: int) -> None:
        """Leave a round half-way, and begin again where the text stands."""
        if gamma:
            self.propose(gamma, None)
        self.close()
        self.open(self.context)

    @precondition(lambda self: self.reference.logits is not None)
    @rule()
    def compare_logits(self) -> None:
        """Compare the logits of both sessions with those of fresh ones."""
        self.reference.compare(self.context, self.target, self.reference.target.open)
        if self.draft is not None and self.reference.draft is not None:
            self.reference.compare(self.context, self.draft, self.reference.draft.open)

    def teardown(self) -> None:
        """Close what is open."""
        if hasattr(self, "target"):
            self.close()
