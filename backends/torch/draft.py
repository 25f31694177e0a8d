"""A model in the draft's role, and its sessions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch

from paceline.backends.torch.engine import nodes_of, unshared
from paceline.backends.torch.logits import token_signals
from paceline.backends.torch.passes import Reading, run, run_together
from paceline.backends.torch.sampling import DeviceProposal, Sampler
from paceline.backends.torch.sequence import ModelSession, SequenceState
from paceline.backends.torch.tokenizers import TokenizerCodec
from paceline.core.prefixes import PrefixReuse
from paceline.core.proposals import TokenProposal
from paceline.core.records import SIGNALS, TokenSignals
from paceline.core.trees import ROOT, TokenTree, depths

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from paceline.backends.torch.engine import Engine
    from paceline.backends.torch.passes import Steps
    from paceline.core.proposals import DraftControl
    from paceline.core.protocols import Proposal
    from paceline.core.records import Signal
    from paceline.core.sampling import Sampling


class DraftModel(PrefixReuse["Engine"]):
    """A causal language model that proposes its own continuation, greedily or drawn.

    Args:
        engine: What computes it.
        tokenizer: Its tokenizer, if it should be compared with the target's.
        vocabulary: Propose only tokens below this: the target's `vocabulary`, where it is the smaller one.
    """

    def __init__(self, engine: Engine, tokenizer: Any = None, *, vocabulary: int | None = None) -> None:
        self.engine = engine
        self.codec = None if tokenizer is None else TokenizerCodec(tokenizer)
        self._limit = vocabulary

    @property
    def vocabulary(self) -> int:
        """Only tokens below this are proposed."""
        own = self.engine.vocabulary
        return own if self._limit is None else min(own, self._limit)

    @property
    def identity(self) -> str:
        """Name, version, number format and kind of device."""
        return self.engine.identity

    @property
    def signals(self) -> frozenset[Signal]:
        """The signals its sessions can compute: all of them."""
        return SIGNALS

    def open(self, prompt: Sequence[int]) -> DraftModelSession:
        """Start a request; nothing is read before the first `draft`."""
        return DraftModelSession(self._sequence(prompt), self.vocabulary)

    def open_sampled(self, prompt: Sequence[int], sampling: Sampling) -> DraftModelSession:
        """Start a request whose tokens are drawn."""
        sampler = Sampler(sampling, prompt, self.engine.device)
        return SampledDraftSession(self._sequence(prompt), self.vocabulary, sampler)

    def _sequence(self, prompt: Sequence[int]) -> SequenceState:
        return SequenceState(
            self.engine, known_tokens(prompt, self.engine.vocabulary), prefixes=self.prefixes
        )

    @property
    def shares_passes(self) -> bool:
        """True if `draft_batch` drafts a token for all in one pass, and not one after the other."""
        return unshared(self.engine) is None

    def draft_batch(
        self,
        sessions: Sequence[DraftModelSession],
        gammas: Sequence[int],
        controls: Sequence[DraftControl | None],
    ) -> list[Proposal | BaseException]:
        """Draft for each of several sessions: see `BatchDraft`."""
        rows = zip(sessions, gammas, controls, strict=True)
        return run_together([session.drafting(gamma, control) for session, gamma, control in rows])


class DraftModelSession(ModelSession):
    """The draft at work on one request.

    Args:
        sequence: Its state.
        vocabulary: Only tokens below this are proposed.
    """

    memoryless = True

    def __init__(self, sequence: SequenceState, vocabulary: int) -> None:
        super().__init__(sequence)
        self._vocabulary = vocabulary

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        super().advance(known_tokens(tokens, self.sequence.vocabulary))

    @property
    def lag(self) -> int:
        """Tokens of the context, its last one not counted, that the cache lacks."""
        return self.sequence.tracker.lag

    def draft(self, gamma: int, control: DraftControl | None) -> Proposal:
        """Propose at most `gamma` tokens; none where the context is too long for this model.

        Without `control` a chosen token is fed on without leaving the device; all are copied at the end, once.
        """
        return run(self.drafting(gamma, control))

    def drafting(self, gamma: int, control: DraftControl | None) -> Steps[Proposal]:
        """Do as `draft`, for whoever runs the passes."""
        gamma = min(gamma, self._room())
        if gamma < 1:
            return TokenProposal(())
        logits = yield from self.sequence.attempting()
        chosen: list[torch.Tensor] = []
        seen: list[TokenSignals] = []
        while True:
            token, scores = self._choose(logits, chosen)
            chosen.append(token)
            if control is not None:
                seen.append(token_signals(scores[0], token[0], len(seen), control.signals))
                if not control.goes_on(seen[-1]):
                    break
            if len(chosen) == gamma:
                break
            logits = yield from self.sequence.extending(token)
        tokens: list[int] = yield Reading(torch.cat(chosen).flatten())
        self.sequence.tracker.reveal(tokens[:-1])
        return self._propose(tuple(tokens), tuple(seen))

    @torch.inference_mode()
    def draft_tree(self, gamma: int, nodes: int, width: int, control: DraftControl | None) -> TokenTree:
        """Propose a tree by the best path first, a level a pass; a chain where the model reads no trees.

        The best nodes of a level are fed together, at most `width` of them. Of what could follow them, that which is
        reached with the highest probability stays in the tree, `nodes` in all. Source: Li et al. 2024
        (https://arxiv.org/abs/2406.16858), section 4, whose expansion and reranking these are.
        """
        gamma, room = min(gamma, self._room()), nodes_of(self.sequence.engine)
        if gamma < 1 or not room:
            return _chain(self.draft(gamma, control) if gamma else TokenProposal(()))
        tree, level, fed = _Candidates(), [ROOT], {ROOT: ROOT}
        seen: list[TokenSignals] = []
        logits = self.sequence.attempt()
        for depth in range(1, gamma + 1):
            before, scores = len(tree), self._scores_of(logits, [tree.way(node) for node in level])
            self._branch(tree, level, scores, width, math.ceil((nodes - before) / (gamma - depth + 1)))
            if control is not None:
                first = torch.tensor([tree.tokens[before]], device=scores.device)
                seen.append(token_signals(scores[0].float(), first, depth - 1, control.signals))
                if not control.goes_on(seen[-1]):
                    break
            if depth == gamma:
                break
            kept = tree.best(nodes)
            fresh = sorted(
                (node for node in range(before, len(tree)) if node in kept),
                key=lambda node: -tree.reached[node],
            )
            level = fresh[: min(width, room - len(fed) + 1)]
            if not level:
                break
            logits = self.sequence.grow(
                [tree.tokens[node] for node in level], [fed[tree.parents[node]] for node in level]
            )
            fed |= {node: place for place, node in enumerate(level, len(fed) - 1)}
        return tree.finish(nodes, seen if control is not None and control.signals else ())

    def _scores_of(self, logits: torch.Tensor, ways: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the scores after each way of a tree, shape (ways, vocabulary)."""
        del ways  # they tell nothing that the logits do not
        return logits[:, : self._vocabulary].float()

    def _branch(
        self, tree: _Candidates, level: Sequence[int], scores: torch.Tensor, width: int, share: int
    ) -> None:
        """Let tokens follow the nodes of a level: the likeliest of each."""
        del share  # what is not among the best is left out afterwards
        likeliest = torch.softmax(scores, dim=-1).topk(min(width, scores.shape[-1]))
        rows = zip(level, likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
        for node, tokens, probs in rows:
            for token, prob in zip(tokens, probs, strict=True):
                tree.add(token, node, prob)

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return how probable each of `tokens` is as the choice of this model there; reads the context."""
        if self._room() < len(tokens) or max(tokens) >= self.sequence.vocabulary:
            return [0.0] * len(tokens)
        return self._token_probs(self.sequence.attempt(tokens[:-1]), tokens)

    def _choose(
        self, logits: torch.Tensor, chosen: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the token after those chosen, shape (1, 1), and the scores behind it, shape (1, vocabulary)."""
        scores = logits[:, : self._vocabulary].float()
        return scores.argmax(dim=-1, keepdim=True), scores

    def _propose(self, tokens: tuple[int, ...], signals: tuple[TokenSignals, ...]) -> Proposal:
        return TokenProposal(tokens, signals)

    def _token_probs(self, logits: torch.Tensor, tokens: Sequence[int]) -> list[float]:
        chosen = logits[:, : self._vocabulary].float().argmax(dim=-1).tolist()
        return [float(own == token) for own, token in zip(chosen, tokens, strict=True)]

    def _room(self) -> int:
        """The most tokens that can be drafted: positions left."""
        sequence, longest = self.sequence, self.sequence.engine.max_context
        # The last drafted token is never fed, so it needs no position.
        left = int(1e9) if longest is None else longest - sequence.tracker.context + 1
        return left if sequence.room is None else min(left, sequence.room + 1)


class _Candidates:
    """Tokens that may be part of a tree, with the probability of the way to each under the draft."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.reached: list[float] = []
        self._drawn_from: list[torch.Tensor] = []

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, token: int, parent: int, prob: float, drawn_from: torch.Tensor | None = None) -> None:
        """Add a token, and the probabilities that it was drawn from if it was drawn."""
        self.tokens.append(token)
        self.parents.append(parent)
        self.reached.append(prob * (1.0 if parent == ROOT else self.reached[parent]))
        if drawn_from is not None:
            self._drawn_from.append(drawn_from)

    def way(self, node: int) -> list[int]:
        """Return the tokens on the way to a node, itself included."""
        return [] if node == ROOT else [*self.way(self.parents[node]), self.tokens[node]]

    def best(self, count: int) -> set[int]:
        """Return the nodes that are reached with the highest probability; among equals, those that came first."""
        return set(sorted(range(len(self)), key=lambda node: -self.reached[node])[:count])

    def finish(self, count: int, signals: Sequence[TokenSignals]) -> TokenTree:
        """Return the tree of the best nodes; tokens that were drawn are never more than fit."""
        kept = sorted(self.best(count))
        numbers = {node: number for number, node in enumerate([ROOT, *kept], ROOT)}
        parents = tuple(numbers[self.parents[node]] for node in kept)
        drawn_from = cast("tuple[Sequence[float], ...]", tuple(self._drawn_from)) or None
        return TokenTree(
            tuple(self.tokens[node] for node in kept),
            parents,
            tuple(signals[: max(depths(parents), default=0)]),
            drawn_from,
        )


def _chain(proposal: Proposal) -> TokenTree:
    """Return a chain as a tree."""
    drawn_from = proposal.draft_probs.unbind() if isinstance(proposal, DeviceProposal) else None
    return TokenTree(
        tuple(proposal.tokens),
        tuple(range(ROOT, len(proposal) - 1)),
        tuple(proposal.signals),
        cast("tuple[Sequence[float], ...] | None", drawn_from),
    )


def known_tokens(tokens: Sequence[int], vocabulary: int) -> Sequence[int]:
    """Return the tokens as a draft reads them: those that it lacks as the last one that it has.

    A draft with a smaller vocabulary than its target so goes on after a token that it does not know.
    """
    if tokens and max(tokens) >= vocabulary:
        return [min(token, vocabulary - 1) for token in tokens]
    return tokens


class SampledDraftSession(DraftModelSession):
    """The draft at work, drawing."""

    def __init__(self, sequence: SequenceState, vocabulary: int, sampler: Sampler) -> None:
        super().__init__(sequence, vocabulary)
        self._sampler = sampler
        self._drawn_from: list[torch.Tensor] = []

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        super().advance(tokens)
        self._sampler.advance(tokens)

    def _choose(
        self, logits: torch.Tensor, chosen: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scores = self._sampler.process(logits, chosen, self._vocabulary)
        self._drawn_from.append(self._sampler.probs(scores))
        return self._sampler.draw(self._drawn_from[-1]), scores

    def _scores_of(self, logits: torch.Tensor, ways: Sequence[Sequence[int]]) -> torch.Tensor:
        return self._sampler.process_ways(logits, ways, self._vocabulary)

    def _branch(
        self, tree: _Candidates, level: Sequence[int], scores: torch.Tensor, width: int, share: int
    ) -> None:
        """Draw tokens without replacement, at most `share`, for nodes that are chosen before anything is drawn.

        None that was drawn may be dropped, so each level has its share. How many each node gets is decided as if the
        likeliest tokens were drawn.
        """
        probs = self._sampler.probs(scores)
        likeliest: list[list[float]] = probs.topk(min(width, probs.shape[-1])).values.tolist()
        worth = [1.0 if node == ROOT else tree.reached[node] for node in level]
        places = [
            (worth[row] * prob, -row, -rank)
            for row, chances in enumerate(likeliest)
            for rank, prob in enumerate(chances)
            if prob > 0.0
        ]
        chosen = sorted(places, reverse=True)[:share]
        for rank in range(width):
            rows = sorted(-row for _, row, place in chosen if -place == rank)
            if not rows:
                break
            drawn_from = probs[rows]
            if rank:
                drawn_from = drawn_from / drawn_from.sum(dim=-1, keepdim=True)
            drawn = self._sampler.draw(drawn_from)
            probs[rows] = probs[rows].scatter(1, drawn, 0.0)
            for row, token, origin in zip(rows, drawn.flatten().tolist(), drawn_from, strict=True):
                tree.add(token, level[row], likeliest[row][rank], origin)

    def _propose(self, tokens: tuple[int, ...], signals: tuple[TokenSignals, ...]) -> Proposal:
        draft_probs, self._drawn_from = torch.cat(self._drawn_from), []
        return DeviceProposal(tokens, draft_probs, signals)

    def _token_probs(self, logits: torch.Tensor, tokens: Sequence[int]) -> list[float]:
        return self._sampler.token_probs(logits, tokens, self._vocabulary)
