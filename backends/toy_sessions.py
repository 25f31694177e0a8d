"""The sessions of the toy pair: what it does with chains and trees of draft tokens, likeliest or drawn."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paceline.core.proposals import SampledProposal, TokenProposal, TokenVerdict
from paceline.core.records import TokenSignals
from paceline.core.rejection_sampling import (
    Rng,
    probs_of,
    process_logits,
    rejection_sample,
    rejection_sample_tree,
    softmax,
)
from paceline.core.sampling import Sampling
from paceline.core.trees import (
    Branch,
    Drawn,
    Listed,
    PathVerdict,
    TokenTree,
    grow_tree,
    tokens_to,
    verify_tree_greedy,
)

if TYPE_CHECKING:
    from paceline.backends.toy import ToyDraft, ToyTarget
    from paceline.core.optional_protocols import TreeProposal
    from paceline.core.proposals import DraftControl
    from paceline.core.protocols import Proposal


@dataclass(slots=True)
class ToyTargetSession:
    """The target at work: all its state is the context."""

    model: ToyTarget
    context: list[int]

    def verify(self, proposal: Proposal | None) -> TokenVerdict:
        """Return the longest prefix the table agrees with, and the table's next token."""
        wait(self.model.step_s)
        tried = list(self.context)
        tokens: list[int] = []
        for token in proposal.tokens if proposal is not None else ():
            choice = self.model.next(tried)
            if token != choice:
                break
            tried.append(token)
            tokens.append(token)
        return TokenVerdict(len(tokens), (*tokens, self.model.next(tried)))

    def verify_tree(self, proposal: TreeProposal) -> PathVerdict:
        """Return the path that the table takes, and its next token."""
        wait(self.model.step_s)
        return verify_tree_greedy(
            proposal, lambda node: self.model.next([*self.context, *tokens_to(proposal, node)])
        )

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered."""
        self.context.extend(tokens)

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


class ToyDraftSession:
    """The draft at work; it lags as one with a cache would."""

    memoryless = True

    def __init__(self, model: ToyDraft, context: list[int]) -> None:
        self.lag = len(context) - 1
        self._model = model
        self._context = context
        self._ahead: int | None = (
            None  # draft tokens a cache would hold after this round; None: did not draft
        )
        self._read: frozenset[tuple[int, ...]] = frozenset()  # ways of a tree that a cache would hold

    def draft(self, gamma: int, control: DraftControl | None) -> Proposal:
        """Propose `gamma` tokens, fewer when `control` says so."""
        wait(self._model.step_s)
        tried = list(self._context)
        signals: list[TokenSignals] = []
        for position in range(gamma):
            token, about = self._choose(tried, position)
            tried.append(token)
            if control is None:
                continue
            signals.append(about)
            if not control.goes_on(signals[-1]):
                break
        tokens = tuple(tried[len(self._context) :])
        self._ahead = len(tokens) - 1  # the last token drafted is not read by the draft itself
        return self._propose(tokens, tuple(signals))

    def draft_tree(self, gamma: int, nodes: int, width: int, control: DraftControl | None) -> TokenTree:
        """Propose a tree of `nodes` tokens, fewer where it can be no larger or `control` says so."""
        wait(self._model.step_s)
        context = self._context
        tree = grow_tree(
            lambda way: self._branch([*context, *way]),
            gamma,
            nodes,
            width,
            control,
            lambda position, token, way: self._about([*context, *way], position, token),
        )
        # Leaves are not read by the draft itself.
        self._read = frozenset(tokens_to(tree, parent) for parent in set(tree.parents))
        self._ahead = 0
        return tree

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return for each of `tokens` how probable it is that this draft would have proposed it there."""
        self._ahead = len(tokens) - 1
        known = len(self._context)
        text = [*self._context, *tokens]
        return [self._share(text[: known + i], token) for i, token in enumerate(tokens)]

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered; those drafted and delivered need not be read again."""
        self._context.extend(tokens)
        while self._read and tuple(tokens[: (self._ahead or 0) + 1]) in self._read:
            self._ahead = (self._ahead or 0) + 1
            if self._ahead == len(tokens):
                break
        if self._ahead is None:
            self.lag += len(tokens)
        else:
            self.lag = len(tokens) - 1 - min(self._ahead, len(tokens) - 1)
        self._ahead, self._read = None, frozenset()

    def close(self) -> None:
        """Do nothing: there is nothing to free."""

    def _choose(self, context: Sequence[int], position: int) -> tuple[int, TokenSignals]:
        """Return the token after `context`, and its signals."""
        token, top1 = self._model.guess(context)
        return token, TokenSignals(position, top1, top1, 2 * (1 - top1), 2 * top1 - 1, token)

    def _about(self, context: Sequence[int], position: int, token: int) -> TokenSignals:
        """Return the signals of a token after `context`."""
        return self._choose(context, position)[1]

    def _branch(self, context: Sequence[int]) -> Branch:
        """Return what may follow `context`."""
        return Listed(self._model.guesses(context))

    def _propose(self, tokens: tuple[int, ...], signals: tuple[TokenSignals, ...]) -> Proposal:
        return TokenProposal(tokens, signals)

    def _share(self, context: Sequence[int], token: int) -> float:
        return float(self._model.guess(context)[0] == token)


def wait(seconds: float) -> None:
    """Take as long as a forward pass of a real model would."""
    if seconds:
        time.sleep(seconds)


class SampledToyTarget(ToyTargetSession):
    """The target at work, drawing."""

    def __init__(self, model: ToyTarget, context: list[int], sampling: Sampling, rng: Rng) -> None:
        super().__init__(model, context)
        self._sampling = sampling
        self._rng = rng

    def verify(self, proposal: Proposal | None) -> TokenVerdict:
        """Accept or refuse drawn tokens, and draw one more; the text is distributed as the target's own draws."""
        wait(self.model.step_s)
        proposed = tuple(proposal.tokens) if proposal is not None else ()
        draft_probs = proposal.draft_probs if isinstance(proposal, SampledProposal) else None
        target_probs = (self._chances(proposed[:place]) for place in range(len(proposed) + 1))
        return rejection_sample(proposed, draft_probs, target_probs, self._rng)

    def verify_tree(self, proposal: TreeProposal) -> PathVerdict:
        """Accept or refuse the tokens of a tree, and draw one more; distributed as the target's own draws."""
        wait(self.model.step_s)
        return rejection_sample_tree(
            proposal, lambda node: self._chances(tokens_to(proposal, node)), self._rng
        )

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return how probable it is that each of `tokens` is drawn after those before it."""
        return [self._chances(tokens[:place])[token] for place, token in enumerate(tokens)]

    def _chances(self, tried: Sequence[int]) -> list[float]:
        text = [*self.context, *tried]
        return probs_of(process_logits(self.model.scores(text), self._sampling, text), self._sampling)


class SampledToyDraft(ToyDraftSession):
    """The draft at work, drawing."""

    def __init__(self, model: ToyDraft, context: list[int], sampling: Sampling, rng: Rng) -> None:
        super().__init__(model, context)
        self._sampling = sampling
        self._rng = rng
        self._drawn_from: list[list[float]] = []

    def _choose(self, context: Sequence[int], position: int) -> tuple[int, TokenSignals]:
        processed = self._processed(context)
        probs = probs_of(processed, self._sampling)
        token = self._rng.draw(probs)
        self._drawn_from.append(probs)
        return token, signals_of(position, token, softmax(processed))

    def _about(self, context: Sequence[int], position: int, token: int) -> TokenSignals:
        return signals_of(position, token, softmax(self._processed(context)))

    def _branch(self, context: Sequence[int]) -> Branch:
        return Drawn(probs_of(self._processed(context), self._sampling), self._rng)

    def _propose(self, tokens: tuple[int, ...], signals: tuple[TokenSignals, ...]) -> Proposal:
        drawn_from, self._drawn_from = tuple(self._drawn_from), []
        return SampledProposal(tokens, drawn_from, signals)

    def _share(self, context: Sequence[int], token: int) -> float:
        return probs_of(self._processed(context), self._sampling)[token]

    def _processed(self, context: Sequence[int]) -> list[float]:
        return process_logits(self._model.scores(context), self._sampling, context)


def signals_of(position: int, token: int, probs: Sequence[float]) -> TokenSignals:
    """Return all signals of a token that was drawn from a distribution."""
    first, second = heapq.nlargest(2, probs)
    entropy = -math.fsum(prob * math.log(prob) for prob in probs if prob)
    return TokenSignals(position, first, probs[token], entropy, first - second, token)
