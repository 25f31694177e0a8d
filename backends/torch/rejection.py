"""Speculative rejection sampling on the device; the rule is that of `paceline.core.sampling.rejection`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from paceline.core.proposals import DrawnProposal, TokenVerdict

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


def claimed_by(proposal: Proposal | None, like: torch.Tensor) -> torch.Tensor | None:
    """Return the distributions that tokens were drawn from, no wider than `like`; None where the proposal is silent."""
    if isinstance(proposal, DeviceProposal):
        chances = proposal.chances
    elif isinstance(proposal, DrawnProposal):
        chances = torch.tensor(proposal.chances)
    else:
        return None
    return chances[:, : like.shape[-1]].to(like)


@torch.inference_mode()
def judge_drawn(
    guess: Sequence[int], claimed: torch.Tensor | None, wanted: torch.Tensor, sampler: Sampler
) -> TokenVerdict:
    """Return the verdict on draft tokens, in one copy from the device.

    Args:
        guess: The tokens.
        claimed: The distributions they were drawn from, shape (tokens, at most vocabulary); None where they are not
            known, so that each token counts as certain.
        wanted: The target's distributions after each token before, shape (tokens + 1, vocabulary).
        sampler: The target's own.
    """
    if not guess:
        return TokenVerdict(0, (int(sampler.draw(wanted)),))
    ids = torch.tensor(guess, device=wanted.device).unsqueeze(1)
    own = wanted[:-1].gather(1, ids)
    stated = torch.ones_like(own) if claimed is None else claimed.gather(1, ids)
    accepted = sampler.accept(own, stated).long().cumprod(dim=0).sum(dim=0)
    # Where all were accepted, there is nothing to take away from the last row.
    refused = (accepted < len(guess)).to(wanted.dtype)
    place = accepted.clamp(max=len(guess) - 1)
    row = wanted.index_select(0, accepted)
    taken = torch.zeros_like(row)
    if claimed is None:
        taken.scatter_(1, ids.index_select(0, place), refused.unsqueeze(1))
    else:
        taken[:, : claimed.shape[1]] = claimed.index_select(0, place) * refused
    left = (row - taken).clamp_min(0.0)
    # Where rounding leaves nothing, p and q are the same, and p is what is left to draw from.
    left = torch.where(left.sum() > 0, left, row)
    count, last = torch.cat([accepted, sampler.draw(left).flatten()]).tolist()
    return TokenVerdict(count, (*guess[:count], last))
