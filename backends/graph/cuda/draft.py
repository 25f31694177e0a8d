"""A model in the draft's role, its rounds being programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paceline.backends.graph.cuda.board import read
from paceline.backends.graph.cuda.draft_slot import DraftSlot
from paceline.backends.graph.cuda.proposal import BoardProposal
from paceline.backends.graph.cuda.session import SeatSession
from paceline.backends.graph.cuda.signals import rule_numbers, tell
from paceline.backends.graph.cuda.slot import Slots
from paceline.backends.graph.cuda.taste import kind_of
from paceline.backends.graph.cuda.tiers import next_up
from paceline.backends.torch.draft import ModelDraft
from paceline.core.proposals import TokenProposal
from paceline.core.sampling import GREEDY

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from paceline.backends.graph.cuda.engine import BlockEngine
    from paceline.backends.graph.cuda.taste import Kind
    from paceline.core.protocols import DraftControl, Proposal
    from paceline.core.sampling import Sampling


class GraphedDraft(ModelDraft):
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
        self.slots: Slots[DraftSlot] = Slots(lambda: DraftSlot(engine, self.vocabulary), engine.runner)

    def warm(self, *kinds: Kind) -> None:
        """Build the programs of a seat now, for greedy decoding or the kinds of choice given."""
        self.slots.warm(kinds or ("greedy",))

    # The sessions are other ones, the contract is the same.
    def open(self, prompt: Sequence[int]) -> GraphedDraftSession:  # type: ignore[override]
        """Start a request; nothing is read before the first `draft`."""
        return GraphedDraftSession(self, prompt, GREEDY)

    def open_sampled(  # type: ignore[override]
        self, prompt: Sequence[int], sampling: Sampling
    ) -> GraphedDraftSession:
        """Start a request whose tokens are drawn.

        Raises:
            BackendError: A setting is asked for that the programs do not have.
        """
        kind_of(sampling)
        return GraphedDraftSession(self, prompt, sampling)


class GraphedDraftSession(SeatSession[DraftSlot]):
    """The draft at work on one request."""

    memoryless = True

    def __init__(self, draft: GraphedDraft, prompt: Sequence[int], sampling: Sampling) -> None:
        with draft.engine.runner.work():
            super().__init__(draft.slots, prompt, sampling)
        self._drawn = not sampling.greedy
        self._proposal: BoardProposal | None = None

    @property
    def lag(self) -> int:
        """Tokens of the context, its last one not counted, that the cache lacks."""
        return self.ledger.lag

    def draft(self, gamma: int, control: DraftControl | None) -> Proposal:
        """Propose at most `gamma` tokens; none where the context is too long or unreadable for this model.

        Without `control.keep_drafting` nothing is copied to the host, and the proposal is worked out after this
        returns. With it, each token is a program of its own and is copied, which takes the time of a copy for each.
        """
        slot = self.slot
        gamma = min(gamma, slot.engine.largest, self._room())
        if gamma < 1:
            return TokenProposal(())
        with slot.engine.runner.work():
            self._proposal = None
            slot.ticket += 1
            # The moments are noted around all the device does here, whatever the host waits for in between.
            slot.began.set()
            self.catch_up(2)
            by_one = control is not None and control.keep_drafting is not None
            fed = self._one_by_one(gamma, control) if by_one else self._at_once(gamma, control)
            slot.ended.set()
            wanted = None if control is None else frozenset(control.signals)
            self._proposal = BoardProposal(slot, gamma, wanted, drawn=self._drawn)
            self.ledger.run_ahead(fed)
        return self._proposal

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return how probable each of `tokens` is as the choice of this model there; reads the context.

        Not a program: it takes longer than on graphs, and is meant for a look now and then.
        """
        if self._room() < len(tokens) or max(tokens) >= self.slot.engine.vocabulary:
            return [0.0] * len(tokens)
        return self.shares(tokens, self.slot.vocabulary)

    def attempt(self, guess: Sequence[int] = ()) -> torch.Tensor:
        """Read context and a guess without a program, as the session below does; what was drafted is forgotten."""
        self._proposal = None
        return super().attempt(guess)

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        proposal, self._proposal = self._proposal, None
        if proposal is not None and proposal.known:
            self.ledger.learn(proposal.tokens)
        self.ledger.settle(tokens)

    def _at_once(self, gamma: int, control: DraftControl | None) -> int:
        """Draft by one program; return how many of the drafted tokens were fed."""
        tier = next_up(self.slot.engine.tiers, gamma)
        looks = control is not None and (bool(control.signals) or control.stop is not None)
        self._order(0, gamma, 0, control)
        self._run(tier, self.ledger.context + tier, looks=looks)
        return tier - 1

    def _one_by_one(self, gamma: int, control: DraftControl | None) -> int:
        """Draft by a program for each token, and ask the policy after each."""
        slot, pair, count = self.slot, self.ledger.pair, 0
        assert control is not None
        assert control.keep_drafting is not None
        while True:
            self._order(count, 1, count, None, pair)
            self._run(1, self.ledger.context + count + 1, looks=True)
            count += 1
            tokens, rows = read(slot.engine.runner.fetch(slot.board.numbers, slot.host), slot.board.largest)
            seen = tell(rows, tokens, control.signals)[-1]
            # The declared rule first, then the policy.
            if (
                (control.stop is not None and control.stop.stops(seen))
                or not control.keep_drafting(seen)
                or count == gamma
            ):
                return count - 1
            pair = pair[1], tokens[-1]

    def _order(
        self,
        ahead: int,
        wanted: int,
        place: int,
        control: DraftControl | None,
        pair: tuple[int, int] | None = None,
    ) -> None:
        """Tell the device where to begin and how far to go."""
        rule = rule_numbers(None if control is None else control.stop)
        context = self.ledger.context + ahead
        self.slot.order.send([*(pair or self.ledger.pair), context, wanted, place, *rule])

    def _run(self, tier: int, needed: int, *, looks: bool) -> None:
        self.slot.drafter(tier, self.slot.span(min(needed, self.slot.engine.capacity)), looks=looks)()

    def _room(self) -> int:
        """The most tokens that can be drafted: positions left, or 0 after a token that the model does not know."""
        if max(self.ledger.tail) >= self.slot.engine.vocabulary:
            return 0
        # The last drafted token is never fed, so it needs no position.
        return self.slot.engine.capacity - self.ledger.context + 1
