"""Toy models at work on one request whose tokens are drawn."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from paceline.backends.toy.sessions import ToyDraftSession, ToyTargetSession, wait
from paceline.core.proposals import SampledProposal, TokenVerdict
from paceline.core.records import TokenSignals
from paceline.core.sampling import chances, process, rejection_sample, softmax

if TYPE_CHECKING:
    from paceline.backends.toy.models import ToyDraft, ToyTarget
    from paceline.core.protocols import Proposal
    from paceline.core.sampling import Rng, Sampling


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
        draft_probs = proposal.chances if isinstance(proposal, SampledProposal) else None
        target_probs = (self._chances(proposed[:place]) for place in range(len(proposed) + 1))
        return rejection_sample(proposed, draft_probs, target_probs, self._rng)

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return how probable it is that each of `tokens` is drawn after those before it."""
        return [self._chances(tokens[:place])[token] for place, token in enumerate(tokens)]

    def _chances(self, tried: Sequence[int]) -> list[float]:
        text = [*self.context, *tried]
        return chances(process(self.model.scores(text), self._sampling, text), self._sampling)


class SampledToyDraft(ToyDraftSession):
    """The draft at work, drawing."""

    def __init__(self, model: ToyDraft, context: list[int], sampling: Sampling, rng: Rng) -> None:
        super().__init__(model, context)
        self._sampling = sampling
        self._rng = rng
        self._drawn_from: list[list[float]] = []

    def _choose(self, context: Sequence[int], position: int) -> tuple[int, TokenSignals]:
        processed = self._processed(context)
        shares = chances(processed, self._sampling)
        token = self._rng.draw(shares)
        self._drawn_from.append(shares)
        return token, signals_of(position, token, softmax(processed))

    def _propose(self, tokens: tuple[int, ...], signals: tuple[TokenSignals, ...]) -> Proposal:
        drawn_from, self._drawn_from = tuple(self._drawn_from), []
        return SampledProposal(tokens, drawn_from, signals)

    def _share(self, context: Sequence[int], token: int) -> float:
        return chances(self._processed(context), self._sampling)[token]

    def _processed(self, context: Sequence[int]) -> list[float]:
        return process(self._model.scores(context), self._sampling, context)


def signals_of(position: int, token: int, shares: Sequence[float]) -> TokenSignals:
    """Return all signals of a token that was drawn from a distribution."""
    first, second = heapq.nlargest(2, shares)
    entropy = -math.fsum(share * math.log(share) for share in shares if share)
    return TokenSignals(position, first, shares[token], entropy, first - second, token)
