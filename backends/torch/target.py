"""A model in the target's role, and its sessions."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from paceline.backends.torch.engine import nodes_of, unshared
from paceline.backends.torch.logits import NONE, likeliest, not_finite, require_finite
from paceline.backends.torch.passes import Reading, run, run_together
from paceline.backends.torch.sampling import (
    Sampler,
    draft_probs_of,
    rejection_sample,
)
from paceline.backends.torch.sequence import CHUNK, ModelSession, SequenceState
from paceline.backends.torch.tokenizers import TokenizerCodec
from paceline.core import rejection_sampling
from paceline.core.errors import BackendError
from paceline.core.prefixes import PrefixReuse
from paceline.core.proposals import verify_greedy
from paceline.core.records import Capabilities
from paceline.core.trees import ROOT, TokenTree, tokens_to, verify_tree_greedy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paceline.backends.torch.engine import Engine
    from paceline.backends.torch.passes import Steps
    from paceline.backends.torch.sampling import DeviceRng
    from paceline.core.optional_protocols import TreeProposal
    from paceline.core.proposals import TokenVerdict
    from paceline.core.protocols import Proposal
    from paceline.core.sampling import Sampling
    from paceline.core.trees import PathVerdict


class TargetModel(PrefixReuse["Engine"]):
    """A causal language model whose output is wanted, greedily or drawn.

    Args:
        engine: What computes it.
        tokenizer: Its tokenizer; without one, prompts are tokens.
    """

    def __init__(self, engine: Engine, tokenizer: Any = None) -> None:
        self.engine = engine
        self.codec = None if tokenizer is None else TokenizerCodec(tokenizer)
        self.capabilities = Capabilities(sampling=True, nodes=nodes_of(engine), processors=True)

    @property
    def identity(self) -> str:
        """Name, version, number format and kind of device."""
        return self.engine.identity

    @property
    def vocabulary(self) -> int:
        """Number of tokens the model chooses from, padding included."""
        return self.engine.vocabulary

    @property
    def eos(self) -> frozenset[int]:
        """The tokens that end a text."""
        return self.engine.eos

    @property
    def max_context(self) -> int | None:
        """The longest prompt + output, or None when there is no limit."""
        return self.engine.max_context

    def gap(self, context: Sequence[int], left: int, right: int) -> float:
        """Return how far apart the logits of two candidates for the next token are, in one pass over the context.

        Where two runs of a model in short floats differ, this tells a near-tie from an error.
        """
        session = self.open(context)
        try:
            logits = session.logits()
        finally:
            session.close()
        return abs(float(logits[left] - logits[right]))

    def perplexity(self, prompt: Sequence[int]) -> float | None:
        """Return exp of the mean negative log probability of the tokens after the first; None for a single token.

        None also for a prompt that must be read in one pass (see `RopeSwitch`).

        Reads the prompt once more, in chunks, so that the logits of a long one need not fit in memory together.
        """
        switch = self.engine.switch
        if len(prompt) < 2 or (switch is not None and len(prompt) > switch.length):
            return None
        cache, total = self.engine.new_cache(), 0.0
        try:
            for begin in range(0, len(prompt) - 1, CHUNK):
                fed, followed = prompt[begin : begin + CHUNK], prompt[begin + 1 : begin + CHUNK + 1]
                logits = self.engine.feed(cache, fed, rows=len(fed))[: len(followed)]
                labels = torch.tensor(followed, device=logits.device)
                total += float(F.cross_entropy(logits.float(), labels, reduction="sum"))
        finally:
            self.engine.free(cache)
        return math.exp(total / (len(prompt) - 1))

    def open(self, prompt: Sequence[int]) -> TargetModelSession:
        """Start a request by reading all of the prompt but its last token.

        Raises:
            BackendError: The prompt is empty, too long, or holds a number that is no token.
        """
        return TargetModelSession(self._sequence(prompt))

    def open_sampled(self, prompt: Sequence[int], sampling: Sampling) -> TargetModelSession:
        """Start a request whose tokens are drawn; like `open` otherwise."""
        return SampledTargetSession(self._sequence(prompt), Sampler(sampling, prompt, self.engine.device))

    @property
    def unshared(self) -> str | None:
        """The reason why requests cannot share passes; None where they can."""
        return unshared(self.engine)

    @property
    def shares_passes(self) -> bool:
        """True if `verify_batch` verifies all proposals in one pass, and not one after the other."""
        return self.unshared is None

    def verify_batch(
        self, sessions: Sequence[TargetModelSession], proposals: Sequence[Proposal | None]
    ) -> list[TokenVerdict | BaseException]:
        """Verify a proposal for each of several sessions: see `BatchTarget`."""
        pairs = zip(sessions, proposals, strict=True)
        return run_together([session.verifying(proposal) for session, proposal in pairs])

    def _sequence(self, prompt: Sequence[int]) -> SequenceState:
        engine, limit = self.engine, self.max_context
        if limit is not None and len(prompt) > limit:
            raise BackendError(
                f"{engine.backend}: the prompt has {len(prompt)} tokens, but {engine.name} reads at most {limit}; "
                "shorten it"
            )
        wrong = next((token for token in prompt if not 0 <= token < self.vocabulary), None)
        if wrong is not None:
            raise BackendError(
                f"{engine.backend}: {wrong} in the prompt is no token of {engine.name}; tokens are 0 to "
                f"{self.vocabulary - 1}"
            )
        return SequenceState(engine, prompt, prefixes=self.prefixes)


class TargetModelSession(ModelSession):
    """The target at work on one request."""

    def __init__(self, sequence: SequenceState) -> None:
        super().__init__(sequence)
        try:
            sequence.catch_up(1)
        except BaseException:
            sequence.close()
            raise

    def verify(self, proposal: Proposal | None) -> TokenVerdict:
        """Compare a proposal with the target's own choices, in one forward pass and one copy from the device.

        Raises:
            BackendError: The model's logits are no numbers.
        """
        return run(self.verifying(proposal))

    def verifying(self, proposal: Proposal | None) -> Steps[TokenVerdict]:
        """Do as `verify`, for whoever runs the passes."""
        guess = () if proposal is None else tuple(proposal.tokens)[: self.sequence.room]
        # What is no token cannot be fed; it is never the target's choice either, so another in its place will do.
        engine, limit = self.sequence.engine, self.sequence.vocabulary
        logits = yield from self.sequence.attempting([token if 0 <= token < limit else 0 for token in guess])
        verdict = verify_greedy(guess, (yield Reading(likeliest(logits))))
        if NONE in verdict.tokens:
            raise not_finite(engine.backend, engine.name, f"{logits.dtype} on {engine.device}")
        return verdict

    def verify_tree(self, proposal: TreeProposal) -> PathVerdict:
        """Find the path through a tree that the target itself would have taken, in one forward pass.

        Raises:
            BackendError: The model reads no trees, or its logits are no numbers.
        """
        numbers, tree = readable_tree(proposal, self.sequence.vocabulary)
        verdict = self._judge_tree(tree, self.sequence.attempt_tree(tree.tokens, tree.parents))
        if len(numbers) == len(proposal.tokens):
            return verdict
        return replace(verdict, path=tuple(numbers[node] for node in verdict.path))

    def _judge_tree(self, tree: TokenTree, logits: torch.Tensor) -> PathVerdict:
        """Return the verdict on a tree; row i + 1 of the logits is about what follows node i."""
        engine = self.sequence.engine
        choices: list[int] = likeliest(logits).tolist()
        verdict = verify_tree_greedy(tree, lambda node: choices[node + 1])
        if NONE in verdict.tokens:
            raise not_finite(engine.backend, engine.name, f"{logits.dtype} on {engine.device}")
        return verdict


def readable_tree(tree: TreeProposal, vocabulary: int) -> tuple[Sequence[int], TokenTree]:
    """Return what can be fed of a tree, and the numbers of its nodes: what is no token of the target never comes out.

    What follows such a token goes with it.
    """
    tokens, parents = tuple(tree.tokens), tuple(tree.parents)
    draft_probs = tree.draft_probs if isinstance(tree, TokenTree) else None
    if all(0 <= token < vocabulary for token in tokens):
        return range(len(tokens)), TokenTree(tokens, parents, draft_probs=draft_probs)
    numbers = {ROOT: ROOT}
    for node, (token, parent) in enumerate(zip(tokens, parents, strict=True)):
        if 0 <= token < vocabulary and parent in numbers:
            numbers[node] = len(numbers) - 1
    kept = [*numbers][1:]
    return kept, TokenTree(
        tuple(tokens[node] for node in kept),
        tuple(numbers[parents[node]] for node in kept),
        draft_probs=None if draft_probs is None else tuple(draft_probs[node] for node in kept),
    )


def readable(proposal: Proposal | None, sequence: SequenceState) -> tuple[int, ...]:
    """Return what can be fed in one pass: a token that is none of the target's ends a proposal, and never comes out."""
    tokens = () if proposal is None else tuple(proposal.tokens)[: sequence.room]
    return tuple(takewhile(lambda token: 0 <= token < sequence.vocabulary, tokens))


class SampledTargetSession(TargetModelSession):
    """The target at work, drawing."""

    def __init__(self, sequence: SequenceState, sampler: Sampler) -> None:
        super().__init__(sequence)
        self._sampler = sampler

    def verifying(self, proposal: Proposal | None) -> Steps[TokenVerdict]:
        """Accept or refuse drawn tokens and draw one more."""
        width = self.sequence.vocabulary
        guess = readable(proposal, self.sequence)
        logits = yield from self.sequence.attempting(guess)
        require_finite(logits, self.sequence.engine)
        scores = self._sampler.process(logits, [self._sampler.tokens(guess)], width)
        target_probs = self._sampler.probs(scores)
        draft_probs = draft_probs_of(proposal, target_probs)
        return rejection_sample(
            guess, None if draft_probs is None else draft_probs[: len(guess)], target_probs, self._sampler
        )

    def _judge_tree(self, tree: TokenTree, logits: torch.Tensor) -> PathVerdict:
        """Try the children of each place one after the other, and draw one more token where all are refused.

        Scores are processed along the path alone: processors need not know what follows a token that they rule out.
        """
        require_finite(logits, self.sequence.engine)
        sampler, width = self._sampler, self.sequence.vocabulary

        def target_probs(node: int) -> torch.Tensor:
            way = sampler.tokens(tokens_to(tree, node))
            return sampler.probs(sampler.process(logits[node + 1 : node + 2], [way], width))[0]

        return rejection_sample_tree(tree, target_probs, sampler)

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return how probable it is that each of `tokens` is drawn after those before it."""
        logits = self.sequence.attempt(tokens[:-1])
        return self._sampler.token_probs(logits, tokens, self.sequence.vocabulary)

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        super().advance(tokens)
        self._sampler.advance(tokens)


@torch.inference_mode()
def rejection_sample_tree(
    tree: TreeProposal, target_probs: Callable[[int], torch.Tensor], sampler: Sampler
) -> PathVerdict:
    """Return the verdict on a tree, by the rule of `paceline.core.rejection_sampling` on the rows of tensors.

    What is decided on the way is read by the host: a copy from the device for each node that is tried.

    Args:
        tree: What was drafted; the `draft_probs` of a `TokenTree` may be rows of tensors.
        target_probs: After a node, or after the context for `ROOT`, shape (vocabulary,).
        sampler: The target's own.
    """
    return rejection_sampling.rejection_sample_tree(
        tree, target_probs, _Decisions(sampler.rng), residual_of=_residual
    )


class _Decisions:
    """The draws of a session as the host makes them, one by one."""

    def __init__(self, rng: DeviceRng) -> None:
        self._rng = rng

    def accept(self, probability: Any) -> bool:
        """Return True with a probability that is a number, or a tensor of no dimension."""
        chance = torch.as_tensor(probability, dtype=torch.float64).reshape(1)
        return bool(self._rng.accept(chance, torch.ones_like(chance)))

    def draw(self, weights: Any) -> int:
        """Return an index by its weight in a row of a tensor."""
        return int(self._rng.draw(weights[None]))


def _residual(target_probs: torch.Tensor, draft_probs: Any, token: int) -> torch.Tensor:
    """Return what p has more than q, normalised; p itself where rounding leaves nothing."""
    left = target_probs.clone()
    if draft_probs is None:
        left[token] = 0.0
    else:
        known = torch.as_tensor(draft_probs[: len(left)], dtype=left.dtype, device=left.device)
        left[: len(known)] -= known
        left.clamp_min_(0.0)
    total = left.sum()
    return left / total if total > 0 else target_probs
