"""The draft's program: catch up, then propose, all on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from paceline.backends.graph.cuda.board import Board
from paceline.backends.graph.cuda.forward import forward
from paceline.backends.graph.cuda.post import Post
from paceline.backends.graph.cuda.signals import measure, stops
from paceline.backends.graph.cuda.slot import Slot
from paceline.backends.graph.cuda.taste import shares

if TYPE_CHECKING:
    from collections.abc import Callable

    from paceline.backends.graph.cuda.engine import BlockEngine
    from paceline.backends.graph.cuda.taste import Kind


class DraftSlot(Slot):
    """A seat for a draft.

    Args:
        engine: The model.
        vocabulary: Only tokens below this are proposed.

    Attributes:
        board: What it proposed last.
        chances: What the tokens were drawn from, shape (largest, vocabulary); None before the first that draws.
        ticket: Counts the proposals, so that an old one is not taken for what lies on the board now.
    """

    def __init__(self, engine: BlockEngine, vocabulary: int) -> None:
        super().__init__(engine)
        self.vocabulary = vocabulary
        self.board = Board(self.numbers(Board.size(engine.largest)), engine.largest)
        self.host = engine.runner.host(len(self.board.numbers))
        self.chances: torch.Tensor | None = None
        self.ticket = 0
        self.began, self.ended = engine.runner.stamp(), engine.runner.stamp()
        # The token before the last one of the context, the last one, the length of the context, tokens wanted, the
        # place of the first on the board, and a rule.
        self._order = self.numbers(8)
        self.order = Post(engine.runner, self._order)

    def prepare(self, kind: Kind) -> None:
        """Be ready for programs of this kind."""
        super().prepare(kind)
        if kind != "greedy" and self.chances is None:
            self.chances = self.probabilities(self.vocabulary)

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
        key = ("draft", tier, span, looks, self.taste.kind)
        return self.program(key, lambda: lambda: self._draft(tier, span, looks=looks), ())

    def _draft(self, tier: int, span: int, *, looks: bool) -> None:
        network, cache, order = self.engine.network, self.cache, self._order
        context, wanted, place = order[2:3].long(), order[3:4], order[4:5].long()
        # The last two tokens are read always: the first of them is what a draft lacks whose tokens were all accepted,
        # and reading it again changes nothing. A context of one token is read twice at the same place.
        positions = torch.cat([context - 2, context - 1]).clamp(0, cache.scratch)
        stream = forward(network, cache, order[:2].long(), positions, span)[-1:]
        count = torch.zeros_like(wanted)
        live = torch.ones_like(wanted, dtype=torch.bool)
        for step in range(tier):
            scores = self._scores(stream)
            token = self._choose(scores, place + step)
            self.board.tokens.index_copy_(0, place + step, token.double())
            count = count + live
            live = live & (count < wanted)
            if looks:
                measured = measure(scores[0], token)
                self.board.signals.index_copy_(0, place + step, measured[None])
                live = live & ~stops(measured, order[5:8])
            if step + 1 < tier:
                positions = (context + step).clamp(max=cache.scratch)
                stream = forward(network, cache, token, positions, span)
        self.board.count.copy_(place + count)

    def _scores(self, stream: torch.Tensor) -> torch.Tensor:
        return self.taste.scores(self.engine.network.head(stream)[:, : self.vocabulary])

    def _choose(self, scores: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        if self.taste.kind == "greedy":
            return scores.argmax(dim=-1)
        found = shares(scores)
        assert self.chances is not None
        self.chances.index_copy_(0, place, found)
        return self.chance.draw(found)
