"""The target's program: verify, accept, go back and choose one more token, all on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from paceline.backends.graph.cuda.board import Board
from paceline.backends.graph.cuda.forward import forward
from paceline.backends.graph.cuda.post import Post
from paceline.backends.graph.cuda.slot import Slot
from paceline.backends.graph.cuda.taste import shares
from paceline.backends.torch.finite import NONE, likeliest

if TYPE_CHECKING:
    from collections.abc import Callable

    from paceline.backends.graph.cuda.engine import BlockEngine
    from paceline.backends.graph.cuda.taste import Kind


class TargetSlot(Slot):
    """A seat for a target.

    Attributes:
        state: The last token of the context and the length of the context, which each verification moves on.
        board: The proposal to verify.
        draft_probs: What its tokens were drawn from, shape (largest, vocabulary); None before the first that draws.
        certain: 1 where that is not known, so that each token counts as certain.
        result: Accepted tokens, the block's tokens, and the board: all that the host is told, in one piece.
    """

    def __init__(self, engine: BlockEngine) -> None:
        super().__init__(engine)
        largest = engine.largest
        self.state = self.numbers(2)
        self.state_post = Post(engine.runner, self.state)
        self.result = self.numbers(2 + largest + Board.size(largest))
        self.board = Board(self.result[2 + largest :], largest)
        self.board_post = Post(engine.runner, self.board.numbers)
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
        key = ("verify", tier, span, self.taste.kind)
        return self.program(key, lambda: lambda: self._verify(tier, span), (self.state,))

    def _verify(self, tier: int, span: int) -> None:
        network, cache = self.engine.network, self.cache
        context, guess = self.state[1:2].long(), self.board.tokens[:tier].long()
        steps = torch.arange(tier + 1, device=guess.device)
        positions = (context - 1 + steps).clamp(max=cache.scratch)
        tokens = torch.cat([self.state[:1].long(), guess])
        logits = network.head(forward(network, cache, tokens, positions, span))
        proposed = steps[:tier] < self.board.count
        if self.taste.kind == "greedy":
            target_tokens = likeliest(logits)
            agreed = self.agreed(target_tokens[:tier], guess)
            accepted = _until_false(agreed & proposed)
        else:
            target_tokens, accepted = self._draw(self.taste.scores(logits), guess, proposed)
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

        The rule is that of `paceline.core.sampling`.
        """
        own, tier = shares(scores), len(guess)
        if tier == 0:
            return self.chance.draw(own), torch.zeros(1, dtype=torch.long, device=own.device)
        assert self.draft_probs is not None
        certain = self.certain > 0
        # Scalars go into `masked_fill`: `where` would copy them to the device, which a capture forbids.
        draft_probs = self.draft_probs[:tier].masked_fill(certain, 0.0)
        draft_token_probs = draft_probs.gather(1, guess[:, None])[:, 0].masked_fill(certain, 1.0)
        fair = self.chance.accept(own[:tier].gather(1, guess[:, None])[:, 0], draft_token_probs)
        accepted = _until_false(fair & proposed)
        # Where all were accepted, there is nothing to take away from the last row.
        refused = (accepted < self.board.count).to(own.dtype)
        place = accepted.clamp(max=tier - 1)
        row = own.index_select(0, accepted)
        taken = draft_probs.index_select(0, place)
        taken = taken.scatter_add(1, guess.index_select(0, place)[:, None], certain.to(own.dtype)[:, None])
        left = (row - taken * refused).clamp_min(0.0)
        # Where rounding leaves nothing, p and q are the same, and p is what is left to draw from.
        drawn = self.chance.draw(torch.where(left.sum() > 0, left, row))
        return torch.cat([guess, guess[:1]]).index_copy(0, accepted, drawn), accepted


def _until_false(agreed: torch.Tensor) -> torch.Tensor:
    """Return how many are true before the first that is not, shape (1,)."""
    return agreed.long().cumprod(0).sum(0, keepdim=True)
