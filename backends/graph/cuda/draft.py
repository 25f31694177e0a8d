"""A model in the draft's role: one program catches up and proposes, all on the device."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from paceline.backends.graph.cuda.buffers import BufferPool, RequestBuffers
from paceline.backends.graph.cuda.engine import next_up
from paceline.backends.graph.cuda.forward import forward
from paceline.backends.graph.cuda.proposal import (
    MEASURED,
    BufferedProposal,
    ProposalBuffer,
    read,
    rule_numbers,
    stops,
    tell,
)
from paceline.backends.graph.cuda.runner import HostToDeviceBuffer
from paceline.backends.graph.cuda.sampling import sampling_kind
from paceline.backends.graph.cuda.session import GraphSession
from paceline.backends.torch.draft import DraftModel, known_tokens
from paceline.backends.torch.logits import signal_values
from paceline.core.proposals import TokenProposal
from paceline.core.sampling import GREEDY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paceline.backends.graph.cuda.engine import BlockEngine
    from paceline.backends.graph.cuda.sampling import Kind
    from paceline.core.proposals import DraftControl
    from paceline.core.protocols import Proposal
    from paceline.core.sampling import Sampling


class DraftBuffers(RequestBuffers):
    """Buffers of a draft.

    Args:
        engine: The model.
        vocabulary: Only tokens below this are proposed.

    Attributes:
        proposal_buffer: What it proposed last.
        draft_probs: What the tokens were drawn from, shape (largest, vocabulary); None before the first that draws.
        generation: Counts the proposals, so that an old one is not taken for what is there now.
    """

    def __init__(self, engine: BlockEngine, vocabulary: int) -> None:
        super().__init__(engine)
        self.vocabulary = vocabulary
        self.proposal_buffer = ProposalBuffer(
            self.numbers(ProposalBuffer.size(engine.largest)), engine.largest
        )
        self.host = engine.runner.host(len(self.proposal_buffer.numbers))
        self.draft_probs: torch.Tensor | None = None
        self.generation = 0
        self.began, self.ended = engine.runner.event(), engine.runner.event()
        # The token before the last one of the context, the last one, the length of the context, tokens wanted, the
        # place of the first in the proposal, and a rule.
        self._command = self.numbers(8)
        self.command = HostToDeviceBuffer(engine.runner, self._command)

    def prepare(self, kind: Kind) -> None:
        """Be ready for programs of this kind."""
        super().prepare(kind)
        if kind != "greedy" and self.draft_probs is None:
            self.draft_probs = self.probabilities(self.vocabulary)

    def warm(self) -> None:
        """Build every program that a request of the kind at hand may need."""
        for span in self.spans:
            self.reader(span)
            for tier in self.engine.tiers[1:]:
                for looks in (False, True):
                    self.drafter(tier, span, looks=looks)
            self.drafter(1, span, looks=True)  # for policies that are asked after each token

    def drafter(self, tier: int, span: int, *, looks: bool) -> Callable[[], None]:
        """Return the program that proposes up to `tier` tokens.

        Args:
            tier: Tokens that are drafted, whether wanted or not.
            span: Positions that attention looks at.
            looks: Whether signals are measured and a rule is judged.
        """
        key = ("draft", tier, span, looks, self.params.kind)
        return self.program(key, lambda: lambda: self._draft(tier, span, looks=looks), ())

    def _draft(self, tier: int, span: int, *, looks: bool) -> None:
        network, cache, command = self.engine.network, self.cache, self._command
        context, limit, place = command[2:3].long(), command[3:4], command[4:5].long()
        # The last two tokens are read always: the first of them is what a draft lacks whose tokens were all accepted,
        # and reading it again changes nothing. A context of one token is read twice at the same place.
        positions = torch.cat([context - 2, context - 1]).clamp(0, cache.scratch)
        hidden = forward(network, cache, command[:2].long(), positions, span)[-1:]
        count = torch.zeros_like(limit)
        live = torch.ones_like(limit, dtype=torch.bool)
        for step in range(tier):
            scores = self._scores(hidden)
            token = self._choose(scores, place + step)
            self.proposal_buffer.tokens.index_copy_(0, place + step, token.double())
            count = count + live
            live = live & (count < limit)
            if looks:
                measured = signal_values(scores[0], token, MEASURED).double()
                self.proposal_buffer.signals.index_copy_(0, place + step, measured[None])
                live = live & ~stops(measured, command[5:8])
            if step + 1 < tier:
                positions = (context + step).clamp(max=cache.scratch)
                hidden = forward(network, cache, token, positions, span)
        self.proposal_buffer.count.copy_(place + count)

    def _scores(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.params.scores(self.engine.network.head(hidden)[:, : self.vocabulary])

    def _choose(self, scores: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        if self.params.kind == "greedy":
            return scores.argmax(dim=-1)
        probs = torch.softmax(scores, dim=-1)
        assert self.draft_probs is not None
        self.draft_probs.index_copy_(0, place, probs)
        return self.rng.draw(probs)


class CudaDraft(DraftModel):
    """A causal language model that proposes its own continuation, in one program a round.

    Args:
        engine: The model, on its device. It shares the runner of the target, if that is on the same device.
        tokenizer: Its tokenizer, if it should be compared with the target's.
        vocabulary: Propose only tokens below this: the target's `vocabulary`, where it is the smaller one.
    """

    engine: BlockEngine

    def __init__(
        self,
        engine: BlockEngine,
        tokenizer: Any = None,
        *,
        vocabulary: int | None = None,
    ) -> None:
        super().__init__(engine, tokenizer, vocabulary=vocabulary)
        self.pool: BufferPool[DraftBuffers] = BufferPool(
            lambda: DraftBuffers(engine, self.vocabulary), engine.runner
        )

    def warm(self, *kinds: Kind) -> None:
        """Build the programs over one set of buffers now, for greedy decoding or the kinds of choice given."""
        self.pool.warm(kinds or ("greedy",))

    def free_cache(self, cache: DraftBuffers) -> None:
        """Let go of the buffers of a session."""
        self.pool.give(cache)

    # The sessions are other ones, the contract is the same.
    def open(self, prompt: Sequence[int]) -> CudaDraftSession:  # type: ignore[override]
        """Start a request; nothing is read before the first `draft`."""
        return CudaDraftSession(self, prompt, GREEDY)

    def open_sampled(  # type: ignore[override]
        self, prompt: Sequence[int], sampling: Sampling
    ) -> CudaDraftSession:
        """Start a request whose tokens are drawn; processors are left to the target.

        Raises:
            BackendError: A setting is asked for that the programs do not have.
        """
        sampling = replace(sampling, processors=())
        sampling_kind(sampling)
        return CudaDraftSession(self, prompt, sampling)


class CudaDraftSession(GraphSession[DraftBuffers]):
    """The draft at work on one request."""

    memoryless = True

    def __init__(self, draft: CudaDraft, prompt: Sequence[int], sampling: Sampling) -> None:
        with draft.engine.runner.work():
            known = known_tokens(prompt, draft.engine.vocabulary)
            super().__init__(draft.pool, known, sampling, draft.prefixes)
        self._drawn = not sampling.greedy
        self._proposal: BufferedProposal | None = None

    @property
    def lag(self) -> int:
        """Tokens of the context, its last one not counted, that the cache lacks."""
        return self.tracker.lag

    def draft(self, gamma: int, control: DraftControl | None) -> Proposal:
        """Propose at most `gamma` tokens; none where the context is too long for this model.

        Without `control.keep_drafting` nothing is copied to the host, and the proposal is worked out after this
        returns. With it, each token is a program of its own and is copied, which takes the time of a copy for each.
        """
        buffers = self.buffers
        gamma = min(gamma, buffers.engine.largest, self._room())
        if gamma < 1:
            return TokenProposal(())
        with buffers.engine.runner.work():
            self._proposal = None
            buffers.generation += 1
            # The moments are noted around all the device does here, whatever the host waits for in between.
            buffers.began.record()
            self.catch_up(2)
            by_one = control is not None and control.keep_drafting is not None
            fed = self._one_by_one(gamma, control) if by_one else self._at_once(gamma, control)
            buffers.ended.record()
            signals = None if control is None else frozenset(control.signals)
            self._proposal = BufferedProposal(buffers, gamma, signals, drawn=self._drawn)
            self.tracker.run_ahead(fed)
        return self._proposal

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return how probable each of `tokens` is as the choice of this model there; reads the context.

        Not a program: it takes longer than on graphs, and is meant for a look now and then.
        """
        if self._room() < len(tokens) or max(tokens) >= self.buffers.engine.vocabulary:
            return [0.0] * len(tokens)
        return self.token_probs(tokens, self.buffers.vocabulary)

    def attempt(self, guess: Sequence[int] = ()) -> torch.Tensor:
        """Read context and a guess without a program, as the session below does; what was drafted is forgotten."""
        self._proposal = None
        return super().attempt(guess)

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        proposal, self._proposal = self._proposal, None
        if proposal is not None and proposal.known:
            self.tracker.learn(proposal.tokens)
        super().advance(known_tokens(tokens, self.buffers.engine.vocabulary))

    def _at_once(self, gamma: int, control: DraftControl | None) -> int:
        """Draft by one program; return how many of the drafted tokens were fed."""
        tier = next_up(self.buffers.engine.tiers, gamma)
        looks = control is not None and (bool(control.signals) or control.stop is not None)
        self._send(0, gamma, 0, control)
        self._run(tier, self.tracker.context + tier, looks=looks)
        return tier - 1

    def _one_by_one(self, gamma: int, control: DraftControl | None) -> int:
        """Draft by a program for each token, and ask the policy after each."""
        buffers, pair, count = self.buffers, self.tracker.pair, 0
        assert control is not None
        while True:
            self._send(count, 1, count, None, pair)
            self._run(1, self.tracker.context + count + 1, looks=True)
            count += 1
            numbers = buffers.engine.runner.fetch(buffers.proposal_buffer.numbers, buffers.host)
            tokens, rows = read(numbers, buffers.proposal_buffer.largest)
            seen = tell(rows, tokens, control.signals)[-1]
            if not control.goes_on(seen) or count == gamma:
                return count - 1
            pair = pair[1], tokens[-1]

    def _send(
        self,
        ahead: int,
        limit: int,
        place: int,
        control: DraftControl | None,
        pair: tuple[int, int] | None = None,
    ) -> None:
        """Tell the device where to begin and how far to go."""
        rule = rule_numbers(None if control is None else control.stop)
        context = self.tracker.context + ahead
        self.buffers.command.send([*(pair or self.tracker.pair), context, limit, place, *rule])

    def _run(self, tier: int, needed: int, *, looks: bool) -> None:
        self.buffers.drafter(
            tier, self.buffers.span(min(needed, self.buffers.engine.capacity)), looks=looks
        )()

    def _room(self) -> int:
        """The most tokens that can be drafted: positions left."""
        # The last drafted token is never fed, so it needs no position.
        return self.buffers.engine.capacity - self.tracker.context + 1
