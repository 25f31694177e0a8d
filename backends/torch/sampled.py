"""Models of transformers at work on one request whose tokens are drawn."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

import torch

from paceline.backends.torch.draft import HfDraftSession
from paceline.backends.torch.finite import require_finite
from paceline.backends.torch.rejection import DeviceProposal, draft_probs_of, rejection_sample
from paceline.backends.torch.target import HfTargetSession

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.backends.torch.sampler import Sampler
    from paceline.backends.torch.stream import Stream
    from paceline.core.proposals import TokenVerdict
    from paceline.core.protocols import Proposal
    from paceline.core.records import TokenSignals


def readable(proposal: Proposal | None, stream: Stream) -> tuple[int, ...]:
    """Return what can be fed in one pass: a token that is none of the target's ends a proposal, and never comes out."""
    tokens = () if proposal is None else tuple(proposal.tokens)[: stream.room]
    return tuple(takewhile(lambda token: 0 <= token < stream.vocabulary, tokens))


class SampledHfTarget(HfTargetSession):
    """The target at work, drawing."""

    def __init__(self, stream: Stream, sampler: Sampler) -> None:
        super().__init__(stream)
        self._sampler = sampler

    def verify(self, proposal: Proposal | None) -> TokenVerdict:
        """Accept or refuse drawn tokens and draw one more, in one forward pass.

        Raises:
            BackendError: The model's logits are no numbers.
        """
        width = self.stream.vocabulary
        guess = readable(proposal, self.stream)
        logits = self.stream.attempt(guess)
        require_finite(logits, self.stream.engine)
        scores = self._sampler.process(logits, [self._sampler.tokens(guess)], width)
        target_probs = self._sampler.chances(scores)
        draft_probs = draft_probs_of(proposal, target_probs)
        return rejection_sample(
            guess, None if draft_probs is None else draft_probs[: len(guess)], target_probs, self._sampler
        )

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return how probable it is that each of `tokens` is drawn after those before it."""
        logits = self.stream.attempt(tokens[:-1])
        return self._sampler.shares(logits, tokens, self.stream.vocabulary)

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        super().advance(tokens)
        self._sampler.advance(tokens)


class SampledHfDraft(HfDraftSession):
    """The draft at work, drawing."""

    def __init__(self, stream: Stream, vocabulary: int, sampler: Sampler) -> None:
        super().__init__(stream, vocabulary)
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
        self._drawn_from.append(self._sampler.chances(scores))
        return self._sampler.draw(self._drawn_from[-1]), scores

    def _propose(self, tokens: tuple[int, ...], signals: tuple[TokenSignals, ...]) -> Proposal:
        chances, self._drawn_from = torch.cat(self._drawn_from), []
        return DeviceProposal(tokens, chances, signals)

    def _shares(self, logits: torch.Tensor, tokens: Sequence[int]) -> list[float]:
        return self._sampler.shares(logits, tokens, self._vocabulary)
