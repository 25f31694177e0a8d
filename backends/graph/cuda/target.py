"""A model in the target's role, its rounds being programs."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any

from paceline.backends.graph.cuda.proposal import BoardProposal
from paceline.backends.graph.cuda.session import SeatSession
from paceline.backends.graph.cuda.slot import Slots
from paceline.backends.graph.cuda.target_slot import TargetSlot
from paceline.backends.graph.cuda.taste import kind_of
from paceline.backends.graph.cuda.tiers import next_up
from paceline.backends.torch.finite import NONE, not_finite
from paceline.backends.torch.rejection import draft_probs_of
from paceline.backends.torch.target import ModelTarget
from paceline.core.errors import BackendError
from paceline.core.proposals import TokenVerdict
from paceline.core.records import Capabilities
from paceline.core.sampling import GREEDY

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from paceline.backends.graph.cuda.engine import BlockEngine
    from paceline.backends.graph.cuda.taste import Kind
    from paceline.core.protocols import Proposal
    from paceline.core.sampling import Sampling


class GraphedTarget(ModelTarget):
    """A causal language model whose output is wanted, greedily or drawn, in one program a round.

    Args:
        engine: The model, on its device.
        tokenizer: Its tokenizer; without one, prompts are tokens.
    """

    engine: BlockEngine

    def __init__(self, engine: BlockEngine, tokenizer: Any = None) -> None:
        super().__init__(engine, tokenizer)
        self.capabilities = Capabilities(gammas=engine.tiers, sampling=True)
        self.slots: Slots[TargetSlot] = Slots(lambda: TargetSlot(engine), engine.runner)

    def warm(self, *kinds: Kind) -> None:
        """Build the programs of a seat now, for greedy decoding or the kinds of choice given."""
        self.slots.warm(kinds or ("greedy",))

    # The sessions are other ones, the contract is the same.
    def open(self, prompt: Sequence[int]) -> GraphedTargetSession:  # type: ignore[override]
        """Start a request by reading all of the prompt but its last token.

        Raises:
            BackendError: The prompt is empty, too long, or holds a number that is no token.
        """
        return GraphedTargetSession(self, prompt, GREEDY)

    def open_sampled(  # type: ignore[override]
        self, prompt: Sequence[int], sampling: Sampling
    ) -> GraphedTargetSession:
        """Start a request whose tokens are drawn; like `open` otherwise.

        Raises:
            BackendError: Also where a setting is asked for that the programs do not have.
        """
        kind_of(sampling)
        return GraphedTargetSession(self, prompt, sampling)

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


class GraphedTargetSession(SeatSession[TargetSlot]):
    """The target at work on one request."""

    def __init__(self, target: GraphedTarget, prompt: Sequence[int], sampling: Sampling) -> None:
        target.check(prompt)
        with target.engine.runner.work():
            super().__init__(target.slots, prompt, sampling)
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
        slot = self.slot
        with slot.engine.runner.work():
            self.catch_up(1)
            most = self._lay_out(proposal)
            place = self.ledger.tail[-1], self.ledger.context
            if self._there != place:
                slot.state_post.send(place)
            self._there = None
            tier = next_up(slot.engine.tiers, most)
            span = slot.span(min(self.ledger.context + tier, slot.engine.capacity))
            slot.verifier(tier, span)()
            numbers = slot.engine.runner.fetch(slot.result, slot.host)
        if isinstance(proposal, BoardProposal) and most and not proposal.known:
            proposal.settle(numbers[2 + slot.engine.largest :])
        accepted = int(numbers[0])
        tokens = tuple(map(int, numbers[1 : 2 + accepted]))
        if NONE in tokens:
            raise not_finite("graph", slot.engine.name, f"on {slot.engine.device}")
        self.ledger.attempt(tokens[:accepted])
        self._there = tokens[-1], self.ledger.context + accepted + 1
        return TokenVerdict(accepted, tokens)

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return how probable it is that each of `tokens` is chosen after those before it."""
        return self.shares(tokens, self.slot.engine.vocabulary)

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        self.ledger.settle(tokens)

    def _lay_out(self, proposal: Proposal | None) -> int:
        """Put a proposal where the program reads it; return the most tokens that it can have."""
        slot = self.slot
        if proposal is None:
            self._require(0)
            return 0
        if isinstance(proposal, BoardProposal) and proposal.current and _beside(proposal, slot):
            self._require(proposal.most)
            slot.board.numbers.copy_(proposal.slot.board.numbers)
            if slot.draft_probs is not None:
                self._claim(proposal.chances)
            return proposal.most
        # What is no token of the target's cannot be fed, and is never its choice: the proposal ends there.
        guess = [*takewhile(lambda token: 0 <= token < slot.engine.vocabulary, proposal.tokens)]
        self._require(len(guess))
        slot.board_post.send([len(guess), *guess])
        if slot.draft_probs is not None:
            if isinstance(proposal, BoardProposal):
                self._claim(proposal.chances)
            else:
                self._claim(draft_probs_of(proposal, slot.draft_probs))
        return len(guess)

    def _claim(self, chances: torch.Tensor | None) -> None:
        """Say what the tokens were drawn from."""
        slot = self.slot
        assert slot.draft_probs is not None
        slot.certain.fill_(chances is None)
        if chances is not None:
            rows, width = min(len(chances), len(slot.draft_probs)), chances.shape[1]
            slot.draft_probs[:rows, :width].copy_(chances[:rows])
            slot.draft_probs[:rows, width:].zero_()

    def _require(self, count: int) -> None:
        """Make sure that a proposal of `count` tokens can be verified; nothing is touched otherwise."""
        engine, context = self.slot.engine, self.ledger.context
        if context + count > engine.capacity:
            raise BackendError(
                f"graph: the cache of {engine.name} has room for {engine.capacity} tokens; {context} are there and "
                f"{count} more do not fit. Set a larger `max_context`, or end the text earlier"
            )
        if count > engine.largest:
            raise BackendError(
                f"graph: {engine.name} verifies at most {engine.largest} tokens at once, found {count}; the largest "
                "gamma is in its capabilities"
            )


def _beside(proposal: BoardProposal, slot: TargetSlot) -> bool:
    """Tell whether a proposal lies on the target's own device, laid out as the target's own."""
    theirs = proposal.slot.engine
    return theirs.runner is slot.engine.runner and theirs.largest == slot.engine.largest
