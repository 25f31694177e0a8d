"""Draws on the device, from a generator that a graph may replay."""

from __future__ import annotations

import torch


class Chance:
    """All the draws of one session.

    Args:
        device: Where weights lie.
    """

    def __init__(self, device: torch.device) -> None:
        self.generator = torch.Generator(device=device)

    def seed(self, seed: int) -> None:
        """Begin anew."""
        self.generator.manual_seed(seed)

    def draw(self, weights: torch.Tensor) -> torch.Tensor:
        """Return for each row a token with a probability proportional to its weight, shape (rows,).

        The first of independent exponential clocks to ring, each going at the rate of its weight, is a draw by weight.
        """
        clocks = torch.empty_like(weights).exponential_(generator=self.generator)
        # A clock that rings at 0 would make 0 / 0 of a token that cannot be drawn.
        return (weights / clocks.clamp_min_(torch.finfo(weights.dtype).tiny)).argmax(dim=-1)

    def accept(self, target_probs: torch.Tensor, draft_probs: torch.Tensor) -> torch.Tensor:
        """Return for each pair of probabilities p and q whether a token is accepted: True with min(1, p / q)."""
        numbers = torch.empty_like(target_probs).uniform_(generator=self.generator)
        # Strictly below: a token without a chance is refused also where the number is 0.
        return numbers * draft_probs < target_probs
