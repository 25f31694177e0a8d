"""Speculative rejection sampling on the device; the rule is that of `paceline.core.sampling`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from paceline.core.proposals import SampledProposal, TokenVerdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.backends.torch.sampler import Sampler
    from paceline.core.protocols import Proposal
    from paceline.core.records import TokenSignals


@dataclass(frozen=True, slots=True, eq=False)
class DeviceProposal:
    """Draft tokens on the host, with the distributions they were drawn from still on the device.

    Attributes:
        chances: Shape (tokens, vocabulary of the draft).
    """

    tokens: tuple[int, ...]
    chances: torch.Tensor
    signals: tuple[TokenSignals, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)


def draft_probs_of(proposal: Proposal | None, like: torch.Tensor) -> torch.Tensor | None:
    """Return the distributions that tokens were drawn from, no wider than `like`; None where the proposal is silent."""
    if isinstance(proposal, DeviceProposal):
        chances = proposal.chances
    elif isinstance(proposal, SampledProposal):
        chances = torch.tensor(proposal.chances)
    else:
        return None
    return chances[:, : like.shape[-1]].to(like)


@torch.inference_mode()
def rejection_sample(
    guess: Sequence[int], draft_probs: torch.Tensor | None, target_probs: torch.Tensor, sampler: Sampler
) -> TokenVerdict:
    """Return the verdict on draft tokens, in one copy from the device.

    Args:
        guess: The tokens.
        draft_probs: The distributions they were drawn from, shape (tokens, at most vocabulary); None where they are not
            known, so that each token counts as certain.
        target_probs: The target's distributions after each token before, shape (tokens + 1, vocabulary).
        sampler: The target's own.
    """
    if not guess:
        return TokenVerdict(0, (int(sampler.draw(target_probs)),))
    ids = torch.tensor(guess, device=target_probs.device).unsqueeze(1)
    target_token_probs = target_probs[:-1].gather(1, ids)
    draft_token_probs = (
        torch.ones_like(target_token_probs) if draft_probs is None else draft_probs.gather(1, ids)
    )
    accepted = sampler.accept(target_token_probs, draft_token_probs).long().cumprod(dim=0).sum(dim=0)
    # Where all were accepted, there is nothing to take away from the last row.
    refused = (accepted < len(guess)).to(target_probs.dtype)
    place = accepted.clamp(max=len(guess) - 1)
    row = target_probs.index_select(0, accepted)
    taken = torch.zeros_like(row)
    if draft_probs is None:
        taken.scatter_(1, ids.index_select(0, place), refused.unsqueeze(1))
    else:
        taken[:, : draft_probs.shape[1]] = draft_probs.index_select(0, place) * refused
    left = (row - taken).clamp_min(0.0)
    # Where rounding leaves nothing, p and q are the same, and p is what is left to draw from.
    left = torch.where(left.sum() > 0, left, row)
    count, last = torch.cat([accepted, sampler.draw(left).flatten()]).tolist()
    return TokenVerdict(count, (*guess[:count], last))
