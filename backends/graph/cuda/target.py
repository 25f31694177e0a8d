"""A model in the target's role: one program verifies, accepts, goes back and chooses one more token."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch

from paceline.backends.graph.cache import require_room
from paceline.backends.graph.cuda.buffers import BufferPool, RequestBuffers
from paceline.backends.graph.cuda.engine import next_up
from paceline.backends.graph.cuda.forward import forward
from paceline.backends.graph.cuda.proposal import BufferedProposal, ProposalBuffer
from paceline.backends.graph.cuda.runner import HostToDeviceBuffer
from paceline.backends.graph.cuda.sampling import sampling_kind
from paceline.backends.graph.cuda.session import GraphSession
from paceline.backends.torch.logits import NONE, likeliest, not_finite
from paceline.backends.torch.sampling import accept_or_redraw, draft_probs_of, true_prefix
from paceline.backends.torch.target import TargetModel
from paceline.core.errors import BackendError
from paceline.core.proposals import TokenVerdict
from paceline.core.records import Capabilities
from paceline.core.sampling import GREEDY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paceline.backends.graph.cuda.engine import BlockEngine
    from paceline.backends.graph.cuda.sampling import Kind
    from paceline.core.protocols import Proposal
    from paceline.core.sampling import Sampling


class TargetBuffers(RequestBuffers):
    """Buffers of a target.

    Attributes:
        state: The last token of the context and the length of the context, which each verification moves on.
        proposal_buffer: The proposal to verify.
        draft_probs: What its tokens were drawn from, shape (largest, vocabulary); None before the first that draws.
        certain: 1 where that is not known, so that each token counts as certain.
        result: Accepted tokens, the block's tokens, and the proposal: all that the host is told, in one piece.
    """

    def __init__(self, engine: BlockEngine) -> None:
        super().__init__(engine)
        largest = engine.largest
        self.state = self.numbers(2)
        self.state_upload = HostToDeviceBuffer(engine.runner, self.state)
        self.result = self.numbers(2 + largest + ProposalBuffer.size(largest))
        self.proposal_buffer = ProposalBuffer(self.result[2 + largest :], largest)
        self.proposal_upload = HostToDeviceBuffer(engine.runner, self.proposal_buffer.numbers)
        self.draft_probs: torch.Tensor | None = None
        self.certain = self.numbers(1)
        self.host = engine.runner.host(len(self.result))

    def prepare(self, kind: Kind) -> None:
        """Be ready for programs of this kind."""
        super().prepare(kind)
        if kind != "greedy" and self.draft_probs is None:
            self.draft_probs = self.probabilities(self.engine.vocabulary)

    def warm(self) -> None:
        """Build every program that a request of the kind at hand may need."""
        for span in self.spans:
            self.reader(span)
            for tier in self.engine.tiers:
                self.verifier(tier, span)

    def verifier(self, tier: int, span: int) -> Callable[[], None]:
        """Return the program that verifies up to `tier` tokens in one block of `tier` + 1."""
        key = ("verify", tier, span, self.params.kind)
        return self.program(key, lambda: lambda: self._verify(tier, span), (self.state,))

    def _verify(self, tier: int, span: int) -> None:
        network, cache = self.engine.network, self.cache
        context, guess = self.state[1:2].long(), self.proposal_buffer.tokens[:tier].long()
        steps = torch.arange(tier + 1, device=guess.device)
        positions = (context - 1 + steps).clamp(max=cache.scratch)
        tokens = torch.cat([self.state[:1].long(), guess])
        logits = network.head(forward(network, cache, tokens, positions, span))
        proposed = steps[:tier] < self.proposal_buffer.count
        if self.params.kind == "greedy":
            target_tokens = likeliest(logits)
            agreed = self.agreed(target_tokens[:tier], guess)
            accepted = true_prefix(agreed & proposed)
        else:
            target_tokens, accepted = self._draw(self.params.scores(logits), guess, proposed)
            target_tokens = target_tokens.masked_fill(likeliest(logits) == NONE, NONE)
        self.result[:1].copy_(accepted)
        self.result[1 : 2 + tier].copy_(target_tokens)
        # What is no token must not be fed, be it in the runs before a capture.
        self.state[:1].copy_(target_tokens.index_select(0, accepted).clamp(min=0))
        self.state[1:].add_(accepted + 1)

    def agreed(self, target_tokens: torch.Tensor, guess: torch.Tensor) -> torch.Tensor:
        """Tell for each proposed token whether it is the target's own choice."""
        return target_tokens == guess

    def _draw(
        self, scores: torch.Tensor, guess: torch.Tensor, proposed: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the guess with the token drawn put where it ends, and how much of it is accepted.

        The rule is that of `paceline.core.rejection_sampling`.
        """
        probs = torch.softmax(scores, dim=-1)
        if len(guess) == 0:
            return self.rng.draw(probs), torch.zeros(1, dtype=torch.long, device=probs.device)
        assert self.draft_probs is not None
        accepted, drawn = accept_or_redraw(
            probs,
            self.draft_probs[: len(guess)],
            guess,
            self.proposal_buffer.count,
            self.rng,
            self.certain > 0,
        )
        return torch.cat([guess, guess[:1]]).index_copy(0, accepted, drawn), accepted


class CudaTarget(TargetModel):
    """A causal language model whose output is wanted, greedily or drawn, in one program a round.

    Args:
        engine: The model, on its device.
        tokenizer: Its tokenizer; without one, prompts are tokens.
    """

    engine: BlockEngine

    def __init__(self, engine: BlockEngine, tokenizer: Any = None) -> None:
        super().__init__(engine, tokenizer)
        self.capabilities = Capabilities(gammas=engine.tiers, sampling=True)
        self.pool: BufferPool[TargetBuffers] = BufferPool(lambda: TargetBuffers(engine), engine.runner)

    def warm(self, *kinds: Kind) -> None:
        """Build the programs over one set of buffers now, for greedy decoding or the kinds of choice given."""
        self.pool.warm(kinds or ("greedy",))

    # The sessions are other ones, the contract is the same.
    def open(self, prompt: Sequence[int]) -> CudaTargetSession:  # type: ignore[override]
        """Start a request by reading all of the prompt but its last token.

        Raises:
            BackendError: The prompt is empty, too long, or holds a number that is no token.
        """
        return CudaTargetSession(self, prompt, GREEDY)

    def open_sampled(  # type: ignore[override]
        self, prompt: Sequence[int], sampling: Sampling
    ) -> CudaTargetSession:
        """Start a request whose tokens are drawn; like `open` otherwise.

        Raises:
            BackendError: Also where a setting is asked for that the programs do not have.
        """
        sampling_kind(sampling)
        return CudaTargetSession(self, prompt, sampling)

    def free_cache(self, cache: TargetBuffers) -> None:
        """Let go of the buffers of a session."""
        self.pool.give(cache)

    def check(self, prompt: Sequence[int]) -> None:
        """Refuse a prompt that cannot be read."""
        name, limit = self.engine.name, self.engine.capacity
        if not 0 < len(prompt) <= limit:
            raise BackendError(
                f"graph: a prompt for {name} has 1 to {limit} tokens, found {len(prompt)}; shorten it, or set a larger "
                "`max_context`"
            )
        wrong = next((token for token in prompt if not 0 <= token < self.vocabulary), None)
        if wrong is not None:
            raise BackendError(
                f"graph: {wrong} in the prompt is no token of {name}; tokens are 0 to {self.vocabulary - 1}"
            )


class CudaTargetSession(GraphSession[TargetBuffers]):
    """The target at work on one request."""

    def __init__(self, target: CudaTarget, prompt: Sequence[int], sampling: Sampling) -> None:
        target.check(prompt)
        with target.engine.runner.work():
            super().__init__(target.pool, prompt, sampling, target.prefixes)
            # What the device takes for last token and length of the context; unknown until it is told.
            self._there: tuple[int, int] | None = None
            try:
                self.catch_up(1)
            except BaseException:
                self.close()
                raise

    def verify(self, proposal: Proposal | None) -> TokenVerdict:
        """Compare a proposal with the target's own choices, in one program and one copy from the device.

        Raises:
            BackendError: The cache has no room for the block, no program is built for one so long, or the model's
                logits are no numbers.
        """
        buffers = self.buffers
        with buffers.engine.runner.work():
            self.catch_up(1)
            most = self._lay_out(proposal)
            place = self.tracker.tail[-1], self.tracker.context
            if self._there != place:
                buffers.state_upload.send(place)
            self._there = None
            tier = next_up(buffers.engine.tiers, most)
            span = buffers.span(min(self.tracker.context + tier, buffers.engine.capacity))
            buffers.verifier(tier, span)()
            numbers = buffers.engine.runner.fetch(buffers.result, buffers.host)
        if isinstance(proposal, BufferedProposal) and most and not proposal.known:
            proposal.settle(numbers[2 + buffers.engine.largest :])
        accepted = int(numbers[0])
        tokens = tuple(map(int, numbers[1 : 2 + accepted]))
        if NONE in tokens:
            raise not_finite("graph", buffers.engine.name, f"on {buffers.engine.device}")
        self.tracker.attempt(tokens[:accepted])
        self._there = tokens[-1], self.tracker.context + accepted + 1
        return TokenVerdict(accepted, tokens)

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return how probable it is that each of `tokens` is chosen after those before it."""
        return self.token_probs(tokens, self.buffers.engine.vocabulary)

    def _lay_out(self, proposal: Proposal | None) -> int:
        """Put a proposal where the program reads it; return the most tokens that it can have."""
        buffers = self.buffers
        if proposal is None:
            self._require(0)
            return 0
        if isinstance(proposal, BufferedProposal) and proposal.current and _beside(proposal, buffers):
            self._require(proposal.most)
            buffers.proposal_buffer.numbers.copy_(proposal.buffers.proposal_buffer.numbers)
            if buffers.draft_probs is not None:
                self._claim(proposal.draft_probs)
            return proposal.most
        # What is no token of the target's cannot be fed, and is never its choice: the proposal ends there.
        guess = [*takewhile(lambda token: 0 <= token < buffers.engine.vocabulary, proposal.tokens)]
        self._require(len(guess))
        buffers.proposal_upload.send([len(guess), *guess])
        if buffers.draft_probs is not None:
            if isinstance(proposal, BufferedProposal):
                self._claim(proposal.draft_probs)
            else:
                self._claim(draft_probs_of(proposal, buffers.draft_probs))
        return len(guess)

    def _claim(self, draft_probs: torch.Tensor | None) -> None:
        """Say what the tokens were drawn from."""
        buffers = self.buffers
        assert buffers.draft_probs is not None
        buffers.certain.fill_(draft_probs is None)
        if draft_probs is not None:
            rows, width = min(len(draft_probs), len(buffers.draft_probs)), draft_probs.shape[1]
            buffers.draft_probs[:rows, :width].copy_(draft_probs[:rows])
            buffers.draft_probs[:rows, width:].zero_()

    def _require(self, count: int) -> None:
        """Make sure that a proposal of `count` tokens can be verified; nothing is touched otherwise."""
        engine = self.buffers.engine
        require_room(engine.name, engine.capacity, self.tracker.context, count)
        if count > engine.largest:
            raise BackendError(
                f"graph: {engine.name} verifies at most {engine.largest} tokens at once, found {count}; the largest "
                "gamma is in its capabilities"
            )


def _beside(proposal: BufferedProposal, buffers: TargetBuffers) -> bool:
    """Tell whether a proposal lies on the target's own device, laid out as the target's own."""
    theirs = proposal.buffers.engine
    return theirs.runner is buffers.engine.runner and theirs.largest == buffers.engine.largest
