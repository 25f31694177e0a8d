"""The right answers of a backend: the same models, asked afresh."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from paceline.core.proposals import DraftControl
from paceline.core.testing.failures import require
from paceline.core.trees import ROOT, PathVerdict, TokenTree, children, depths, path_flaw, tree_flaw

if TYPE_CHECKING:
    from paceline.core.optional_protocols import TreeProposal, TreeVerdict
    from paceline.core.protocols import Draft, Proposal, Target, Verdict
    from paceline.core.records import Signal, TokenSignals

PLUS_ONE = "a verdict is the accepted tokens and one more"
FORGET = "after advance(tokens) a session must know prompt + emitted tokens, and nothing else that was tried"

Logits = Callable[[Any], Sequence[float]]
"""Reads the logits of the next token from a session, without changing what it knows."""


@dataclass(slots=True)
class StopAfter:
    """Control that wants some signals and ends drafting after `after` tokens have been kept."""

    signals: frozenset[Signal]
    after: int
    seen: list[TokenSignals] = field(default_factory=list)

    @property
    def control(self) -> DraftControl:
        """The control that a draft is given."""
        return DraftControl(self.signals, None, self._keep_drafting)

    def _keep_drafting(self, signals: TokenSignals) -> bool:
        """Count the tokens."""
        self.seen.append(signals)
        return len(self.seen) <= self.after


class Reference:
    """A pair of models, and their answers from freshly opened sessions, remembered within a story."""

    def __init__(self, target: Target, draft: Draft | None, logits: Logits | None, tolerance: float) -> None:
        self.target = target
        self.draft = draft
        self.logits = logits
        self.tolerance = tolerance
        self._next: dict[tuple[int, ...], int] = {}
        self._guess: dict[tuple[tuple[int, ...], int], tuple[int, ...]] = {}

    def forget(self) -> None:
        """Forget every answer, so that a story does not depend on the stories before it."""
        self._next.clear()
        self._guess.clear()

    def fits(self, context: Sequence[int], gamma: int) -> bool:
        """Tell whether another round stays within what the target can read."""
        return self.target.max_context is None or len(context) + gamma + 1 <= self.target.max_context

    def continuation(self, context: tuple[int, ...], count: int) -> tuple[int, ...]:
        """Return the `count` tokens the target alone would write, each from a fresh session."""
        text = context
        for _ in range(count):
            if text not in self._next:
                session = self.target.open(text)
                (self._next[text],) = session.verify(None).tokens
                session.close()
            text = (*text, self._next[text])
        return text[len(context) :]

    def thicket(self, context: tuple[int, ...], right: int, beside: int) -> TokenTree:
        """Return a tree that holds the target's next `right` tokens, and after the same places others with children."""
        vocabulary = self.target.vocabulary
        tokens: list[int] = []
        parents: list[int] = []
        way = ROOT
        text = self.continuation(context, right + 1)
        for place, token in enumerate(text[: self.target.capabilities.nodes // 3]):
            other = (token + 1 + (beside + place) % max(1, vocabulary - 1)) % vocabulary
            first = len(tokens)
            if place < right:
                tokens.append(token)
                parents.append(way)
            if other != token:
                tokens += [other, token]
                parents += [way, len(tokens) - 2]
            way = first
        return TokenTree(tuple(tokens) or (0,), tuple(parents) or (ROOT,))

    def judge(self, context: tuple[int, ...], proposal: Proposal | None, verdict: Verdict) -> None:
        """Compare a verdict with what the target alone would have written."""
        guess = () if proposal is None else tuple(proposal.tokens)
        require(
            hasattr(verdict, "accepted") and hasattr(verdict, "tokens"),
            f"V1: verify() must return a verdict, as TokenVerdict(accepted, tokens), found {verdict!r}",
        )
        accepted, tokens = verdict.accepted, tuple(verdict.tokens)
        require(0 <= accepted <= len(guess), f"V1: {accepted} of {len(guess)} proposed tokens accepted")
        require(
            len(tokens) == accepted + 1,
            f"V1: {accepted} accepted, but {len(tokens)} tokens given; {PLUS_ONE}",
        )
        expected = self.continuation(context, len(guess) + 1)
        agreed = next(
            (i for i, (a, b) in enumerate(zip(guess, expected, strict=False)) if a != b), len(guess)
        )
        require(
            accepted == agreed,
            f"V1: {accepted} tokens of {guess} accepted, the target alone writes {expected}: accept those before the "
            "first difference",
        )
        require(
            tokens == expected[: agreed + 1],
            f"S1: verdict {tokens}, but the target alone writes {expected}: {FORGET}",
        )

    def judge_tree(self, context: tuple[int, ...], tree: TreeProposal, verdict: TreeVerdict) -> None:
        """Compare a verdict on a tree with what the target alone would have written."""
        require(hasattr(verdict, "path"), f"V2: a verdict on a tree has its `path`, found {verdict!r}")
        accepted, tokens, path = verdict.accepted, tuple(verdict.tokens), tuple(verdict.path)
        require(
            len(tokens) == accepted + 1,
            f"V2: {accepted} accepted, but {len(tokens)} tokens given; {PLUS_ONE}",
        )
        problem = path_flaw(tree, PathVerdict(accepted, tokens, path))
        require(problem is None, f"V2: {problem}")
        expected = self.continuation(context, len(tokens))
        require(tokens == expected, f"S1: verdict {tokens}, but the target alone writes {expected}: {FORGET}")
        last = path[-1] if path else ROOT
        following = [tree.tokens[node] for node in children(tree.parents)[last + 1]]
        require(
            tokens[-1] not in following,
            f"V2: {tokens[-1]} came after the path {path}, where the tree has it: accept it as well",
        )

    def judge_drafted_tree(
        self, tree: TreeProposal, expected: TreeProposal, gamma: int, nodes: int, width: int
    ) -> None:
        """Compare a tree with that of a fresh session, and look at its shape."""
        tokens, parents = tuple(tree.tokens), tuple(tree.parents)
        problem = tree_flaw(tokens, parents, width)
        require(problem is None, f"D1: {problem}")
        require(len(tree) == len(tokens) <= nodes, f"D1: {len(tokens)} tokens where {nodes} were asked for")
        deepest = max(depths(parents), default=0)
        require(deepest <= gamma, f"D1: a tree of depth {deepest} where {gamma} was asked for")
        require(not tree.signals, "D2: signals given where `control` is None: compute those it names")
        fresh = tuple(expected.tokens), tuple(expected.parents)
        require(
            (tokens, parents) == fresh,
            f"S1: {tokens} after {parents} proposed, a fresh session proposes {fresh}: {FORGET}",
        )

    def judge_draft(
        self, context: tuple[int, ...], gamma: int, proposal: Proposal, control: StopAfter | None
    ) -> None:
        """Compare a proposal with that of a fresh session, and look at its length and signals."""
        require(
            hasattr(proposal, "tokens") and hasattr(proposal, "signals"),
            f"D1: draft() must return a proposal, as TokenProposal(tokens, signals), found {proposal!r}",
        )
        tokens = tuple(proposal.tokens)
        require(len(proposal) == len(tokens), f"D1: length {len(proposal)}, but {len(tokens)} tokens")
        require(len(tokens) <= gamma, f"D1: {len(tokens)} tokens proposed where {gamma} were asked for")
        wrong = [token for token in tokens if not 0 <= token < self.target.vocabulary]
        require(not wrong, f"D1: {wrong} proposed, the target's vocabulary is {self.target.vocabulary}")
        expected = self._fresh_guess(context, gamma)
        full = expected if control is None else expected[: len(tokens)]
        require(tokens == full, f"S1: {tokens} proposed, a fresh session proposes {expected}: {FORGET}")
        if control is None:
            require(not proposal.signals, "D2: signals given where `control` is None: compute those it names")
            return
        if control.signals:
            expected = expected[: control.after + 1]
            require(
                tokens == expected, f"D2: {tokens} proposed, {expected} expected: the token that stops stays"
            )
            require(
                len(proposal.signals) == len(tokens),
                f"D2: {len(proposal.signals)} signals for {len(tokens)} tokens; give one record for each token where "
                "`control.signals` names any",
            )
        for index, signals in enumerate(proposal.signals):
            require(
                signals.position == index, f"D2: signals of token {index} have position {signals.position}"
            )
            for name in control.signals:
                require(
                    getattr(signals, name) is not None,
                    f"D2: signal {name} is in `control.signals` and missing",
                )

    def judge_scores(
        self, context: tuple[int, ...], tokens: tuple[int, ...], scores: Sequence[float]
    ) -> None:
        """Compare scores with what fresh sessions propose at each of the places."""
        expected = [
            float(self._fresh_guess((*context, *tokens[:place]), 1) == (token,))
            for place, token in enumerate(tokens)
        ]
        require(
            list(scores) == expected,
            f"S1: scores {scores} for {tokens}, fresh sessions say {expected}: {FORGET}",
        )

    def compare(self, context: tuple[int, ...], session: Any, reopen: Callable[[Sequence[int]], Any]) -> None:
        """Compare a session's logits with those of a fresh one."""
        assert self.logits is not None
        fresh = reopen(context)
        answered, expected = list(self.logits(session)), list(self.logits(fresh))
        fresh.close()
        worst = max(abs(a - b) for a, b in zip(answered, expected, strict=True))
        require(
            worst <= self.tolerance, f"S1: logits differ by {worst} from those of a fresh session: {FORGET}"
        )

    def _fresh_guess(self, context: tuple[int, ...], gamma: int) -> tuple[int, ...]:
        assert self.draft is not None
        if (context, gamma) not in self._guess:
            session = self.draft.open(context)
            self._guess[context, gamma] = tuple(session.draft(gamma, None).tokens)
            session.close()
        return self._guess[context, gamma]
