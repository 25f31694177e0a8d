"""`check_backend`: a state machine that drafts, verifies, cuts, idles, abandons, and compares.

Whatever happened before, a session must answer as one freshly opened on prompt + emitted tokens. Use it in a test of
your own; it needs `hypothesis`, and a model precise enough that the block in which a token is computed does not change
the likeliest one (float64, or no near-ties).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from paceline.core.guards.draft import check_draft, check_draft_session
from paceline.core.guards.target import check_target, check_target_session
from paceline.core.optional_protocols import SampledDraft, SampledTarget, SupportsScoring, SupportsTrees
from paceline.core.processors import AllowedTokens
from paceline.core.proposals import SampledProposal, TokenProposal
from paceline.core.records import SIGNALS, Signal
from paceline.core.sampling import GREEDY, Sampling, open_draft, open_target
from paceline.core.testing.failures import blamed, require
from paceline.core.testing.reference import PLUS_ONE, Logits, Reference, StopAfter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paceline.core.optional_protocols import TreeProposal
    from paceline.core.protocols import Draft, DraftSession, Proposal, Target, TargetSession, Verdict

MAX_GAMMA = 6
GAMMAS = st.integers(1, MAX_GAMMA)
COUNTS = st.integers(0, MAX_GAMMA)

CERTAIN = Sampling(top_k=1)
"""Drawing from the likeliest token alone."""

HOT = Sampling(temperature=2.0)
SEEDS = 6
ROUNDS = 4
GAMMA = 3


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
        target, draft = self.reference.target, self.reference.draft
        with blamed(target, "open"):
            self.target = open_target(target, context, self.sampling)
            check_target_session(target, self.target)
        self.draft = None
        if draft is not None:
            with blamed(draft, "open"):
                session = open_draft("draft", draft, context, self.sampling)
                check_draft_session("draft", draft, session)
            self.draft = session
        self.drafted = False

    def close(self) -> None:
        """Close both sessions, twice."""
        for session in (self.target, self.draft):
            if session is not None:
                with blamed(session, "close"):
                    session.close()
                    session.close()

    def propose(self, gamma: int, control: StopAfter | None) -> Proposal | None:
        """Draft, and compare with a fresh draft; without a draft there is no proposal."""
        if self.draft is None:
            return None
        with blamed(self.draft, "draft"):
            proposal = self.draft.draft(gamma, None if control is None else control.control)
            self.reference.judge_draft(self.context, gamma, proposal, control)
        self.drafted = self.drafted or len(proposal) > 0
        return proposal

    def finish(self, proposal: Proposal | None, cut: int) -> None:
        """Verify, deliver all but the last `cut` tokens (at least one), and look at the lag."""
        with blamed(self.target, "verify"):
            verdict = self.target.verify(proposal)
            self.reference.judge(self.context, proposal, verdict)
        self.deliver(verdict, cut)

    def finish_tree(self, tree: TreeProposal, cut: int) -> None:
        """Do the same with a tree."""
        with blamed(self.target, "verify_tree"):
            target: Any = self.target
            verdict = target.verify_tree(tree)
            self.reference.judge_tree(self.context, tree, verdict)
        self.deliver(verdict, cut)

    def deliver(self, verdict: Verdict, cut: int) -> None:
        """Deliver all but the last `cut` tokens of a verdict, at least one, and look at the lag."""
        emitted = tuple(verdict.tokens)[: max(1, len(verdict.tokens) - cut)]
        with blamed(self.target, "advance"):
            self.target.advance(emitted)
        self.context += emitted
        if self.draft is not None:
            with blamed(self.draft, "advance"):
                # A draft that has drafted has read the whole context before this round.
                most = len(emitted) - 1 if self.drafted else self.draft.lag + len(emitted)
                self.draft.advance(emitted)
                lag = self.draft.lag
                require(
                    0 <= lag <= most,
                    f"S1: the draft's lag is {lag}, but at most {most} tokens can be missing: it counts the tokens of "
                    "the context, its last one left out, that the cache lacks",
                )
        self.drafted = False

    def has_room(self) -> bool:
        """Tell whether a few more rounds stay within what the target can read."""
        return self.reference.fits(self.context, 2 * MAX_GAMMA)

    def branches(self) -> bool:
        """Tell whether the target verifies trees, and there is room for one."""
        return self.reference.target.capabilities.nodes >= MAX_GAMMA and self.has_room()

    @precondition(has_room)
    @rule(gamma=GAMMAS, cut=COUNTS)
    def speculate(self, gamma: int, cut: int) -> None:
        """Take a round; sometimes its emission is cut, as by an end-of-sequence token."""
        self.finish(self.propose(gamma, None), cut)

    @precondition(has_room)
    @rule(gamma=GAMMAS, after=COUNTS, watched=st.sets(st.sampled_from(sorted(SIGNALS))))
    def control(self, gamma: int, after: int, watched: set[Signal]) -> None:
        """Take a round with signals, whose drafting ends after so many tokens."""
        offered = self.reference.draft.signals if self.reference.draft is not None else frozenset()
        self.finish(self.propose(gamma, StopAfter(offered & watched, after)), 0)

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
        with blamed(self.target, "verify"):
            verdict = self.target.verify(TokenProposal(guess))
            self.reference.judge(self.context, TokenProposal(guess), verdict)
        if isinstance(self.draft, SupportsScoring):
            with blamed(self.draft, "score"):
                scores = self.draft.score(verdict.tokens)
                self.reference.judge_scores(self.context, tuple(verdict.tokens), scores)
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

    @precondition(branches)
    @rule(gamma=GAMMAS, more=COUNTS, width=st.integers(1, 3), cut=COUNTS)
    def branch(self, gamma: int, more: int, width: int, cut: int) -> None:
        """Take a round of a tree, where the draft knows any."""
        if not isinstance(self.draft, SupportsTrees) or self.reference.draft is None:
            return
        nodes = min(gamma + more, self.reference.target.capabilities.nodes)
        with blamed(self.draft, "draft_tree"):
            fresh: Any = open_draft("draft", self.reference.draft, self.context, self.sampling)
            expected = fresh.draft_tree(gamma, nodes, width, None)
            fresh.close()
            tree = self.draft.draft_tree(gamma, nodes, width, None)
            self.reference.judge_drafted_tree(tree, expected, gamma, nodes, width)
        self.drafted = True
        if len(tree):
            self.finish_tree(tree, cut)
        else:
            self.finish(None, cut)

    @precondition(branches)
    @rule(right=COUNTS, beside=st.integers(0, 2**16), cut=COUNTS)
    def graft(self, right: int, beside: int, cut: int) -> None:
        """Verify a tree from elsewhere: the target's own tokens, each with others beside it and below those."""
        self.finish_tree(self.reference.thicket(self.context, right, beside), cut)

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


def draws_repeat(target: Target, draft: Draft | None, starts: Sequence[tuple[int, ...]]) -> None:
    """Decode short texts with several seeds, each twice: all chance comes from the seed of `Sampling`."""
    for seed in range(SEEDS):
        sampling = replace(HOT, seed=seed)
        first, again = (_decode(target, draft, starts[-1], sampling) for _ in range(2))
        require(
            first == again,
            f"with the seed {seed} sessions that draw wrote {first}, and then {again}: chance must come from "
            "`sampling.seed` alone",
        )
    texts = {_decode(target, None, starts[-1], replace(HOT, seed=seed)) for seed in range(SEEDS)}
    require(
        len(texts) > 1 or target.vocabulary == 1,
        f"with {SEEDS} seeds at temperature {HOT.temperature} the target alone wrote one text: the seed is not used",
    )


def processors_hold(target: Target, draft: Draft | None, starts: Sequence[tuple[int, ...]]) -> None:
    """Decode greedily under a processor, plainly and with the draft: the same tokens, each of which it allows."""
    vocabulary = target.vocabulary

    def allowed(tokens: Sequence[int]) -> set[int]:
        return {(tokens[-1] + step * len(tokens)) % vocabulary for step in (1, 2, 3)}

    sampling = Sampling(temperature=0.0, processors=(AllowedTokens(allowed),))
    for start in starts:
        plain, drafted = (_decode(target, each, start, sampling) for each in (None, draft))
        text = (*start, *drafted)
        wrong = [place for place in range(len(start), len(text)) if text[place] not in allowed(text[:place])]
        require(
            not wrong and plain == drafted[: len(plain)],
            f"its capabilities say that it applies processors, but under one it wrote {drafted} after {start}, and "
            f"{plain} plainly: apply them to the logits of each place, by `process_row`",
        )


def _decode(
    target: Target, draft: Draft | None, prompt: tuple[int, ...], sampling: Sampling
) -> tuple[int, ...]:
    written: list[int] = []
    writing = open_target(target, prompt, sampling)
    drafting = open_draft("draft", draft, prompt, sampling) if draft is not None else None
    for _ in range(ROUNDS):
        if target.max_context is not None and len(prompt) + len(written) + GAMMA + 1 > target.max_context:
            break
        proposal = drafting.draft(GAMMA, None) if drafting is not None else None
        if proposal is not None and isinstance(draft, SampledDraft):
            _could_be_drawn(proposal)
        verdict = writing.verify(proposal if proposal is not None and len(proposal) else None)
        tokens = tuple(verdict.tokens)
        require(
            len(tokens) == verdict.accepted + 1,
            f"V1: {verdict.accepted} accepted, but {len(tokens)} tokens given; {PLUS_ONE}",
        )
        wrong = [token for token in tokens if not 0 <= token < target.vocabulary]
        require(not wrong, f"V1: {wrong} drawn, the vocabulary is {target.vocabulary}")
        written += tokens
        for session in (writing, drafting):
            if session is not None:
                session.advance(tokens)
    for session in (writing, drafting):
        if session is not None:
            session.close()
    return tuple(written)


def _could_be_drawn(proposal: Proposal) -> None:
    """Look at what each token was drawn from, where the proposal holds it as numbers."""
    if isinstance(proposal, SampledProposal):
        for draft_probs in proposal.draft_probs:
            require(
                math.isclose(math.fsum(draft_probs), 1.0, abs_tol=1e-3),
                f"D2: the probabilities that a token was drawn from add up to {math.fsum(draft_probs)}, not to 1",
            )


def check_backend(
    target: Callable[[], Target],
    draft: Callable[[Target], Draft] | None = None,
    *,
    prompts: Sequence[Sequence[int]] | None = None,
    logits: Logits | None = None,
    tolerance: float = 1e-9,
    max_examples: int = 25,
    steps: int = 12,
    shrink: bool = True,
) -> None:
    """Drive a target, and a draft if there is one, through random rounds; fail with the shortest story that breaks one.

    A target that samples is driven so again with sessions that draw: from the likeliest token alone, which must give
    the same text, and with everything open, where the same seed must give the same tokens and another one others. One
    that applies processors is held to what one of them allows.

    Args:
        target: Makes the target; called once.
        draft: Makes a draft for it; called once. Its sessions must be functions of their context.
        prompts: Where requests start; by default one of 1, one of 2 and one of 20 tokens.
        logits: Reads a session's logits of the next token, to compare them with those of a fresh session.
        tolerance: The largest difference of logits allowed.
        max_examples: Stories to try.
        steps: Rounds in one story.
        shrink: Whether a failing story is shortened before it is told, which can take a while.

    Raises:
        AssertionError: A contract is broken; the message starts with its number in `paceline.core.protocols`, and the
            notes name the place and the story.
    """
    model = target()
    with blamed(model, "open"):
        check_target(model)
    other = draft(model) if draft is not None else None
    if other is not None:
        with blamed(other, "open"):
            check_draft("draft", other)
    starts = [tuple(prompt) for prompt in prompts or default_prompts(model.vocabulary)]
    reference = Reference(model, other, logits, tolerance)
    _drive({"reference": reference, "starts": starts}, max_examples, steps, shrink=shrink)
    if model.capabilities.sampling:
        require(
            isinstance(model, SampledTarget),
            "its capabilities say that it samples, but there is no `open_sampled`: add it, or leave `sampling` False",
        )
        drawn = {"reference": Reference(model, other, None, tolerance), "starts": starts, "sampling": CERTAIN}
        _drive(drawn, max(1, max_examples // 2), steps, shrink=shrink)
        with blamed(model, "open_sampled"):
            draws_repeat(model, other, starts)
            if model.capabilities.processors:
                processors_hold(model, other, starts)


def _drive(members: dict[str, object], examples: int, steps: int, *, shrink: bool) -> None:
    run_state_machine_as_test(
        type("Rounds", (BackendRounds,), members),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def default_prompts(vocabulary: int) -> list[list[int]]:
    """Return prompts of 1, 2 and 20 tokens that look random and are always the same."""
    return [[(7 + 13 * index * index) % vocabulary for index in range(size)] for size in (1, 2, 20)]
