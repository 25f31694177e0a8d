"""Discounted UCB over a few gammas: `ucb` whose rounds fade, for text whose best gamma changes.

What was seen k rounds ago weighs d^k, in the tokens, seconds and rounds of an arm alike:

    argmax  rate_i / max_j rate_j  +  c sqrt(log(n + 1) / n_i),     n_i = sum of d^(t-s) over the rounds s of arm i,

and n is the sum of all n_i, at most 1 / (1 - d). Arms that rest grow doubtful again and are tried again: with the
default discount of .99 about a hundred rounds are remembered, and the price of following a change is to look into arms
that have long been known to be slow.

The method is that of Garivier and Moulines (2008, https://arxiv.org/abs/0805.3415): discounted means, and the padding
2 B sqrt(xi log(n) / n_i) for rewards up to B. Here B is 1, for rates are divided by the best one, and c stands for
2 sqrt(xi). Their theory wants xi above one half, so a c above 1.4; c = 0.15 is ours, as with some hundred rounds in
memory and eight arms anything near 1.4 plans them in turn. A discount of .99 is ours too (theirs follows from the
number of changes, which nobody knows here), as are ratios of sums and n + 1.

Cold start and the rounds that count are those of `ucb`. Only rounds that count age what is known.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat

from paceline.policies.baselines.gamma_arms import GammaArmsConfig
from paceline.policies.baselines.ucb import UcbPolicy


class DUcbConfig(GammaArmsConfig):
    """Try a few gammas, plan the one that may still be the fastest, and let old rounds fade."""

    name: Literal["d-ucb"] = "d-ucb"
    discount: float = Field(
        default=0.99, ge=0.5, le=1, description="Weight of what is known, for each round of age."
    )
    exploration: FiniteFloat = Field(
        default=0.15, ge=0, description="Weight of the doubt about arms that were planned seldom (c)."
    )
    cold_start: FiniteFloat = Field(
        default=0.25, gt=0, description="Share of the time that the first tries of arms may waste, at worst."
    )

    def build(self, seed: int = 0) -> DUcbPolicy:
        """Return a fresh policy."""
        return DUcbPolicy(
            self, exploration=self.exploration, cold_start=self.cold_start, discount=self.discount
        )


class DUcbPolicy(UcbPolicy):
    """Upper confidence bounds from sums that fade."""
