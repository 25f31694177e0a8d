"""Speculative rejection sampling: drawn draft tokens are accepted so that the text is distributed as the target's own.

With p the target's distribution at a position and q the one the draft drew its token x from:

    accept x with probability min(1, p(x) / q(x));
    where one is refused, draw from max(p - q, 0), normalised, and drop the tokens after it;
    where all were accepted, draw one more from p.

Source: Leviathan et al. 2023 (https://arxiv.org/abs/2211.17192), algorithm 1, and Chen et al. 2023
(https://arxiv.org/abs/2302.01318), algorithm 2, which are the same.

A token whose q is unknown counts as certain, q(x) = 1: it is accepted with probability p(x), else the target draws
among the others. What comes out is then distributed as p whatever x was, so this holds for any draft, a greedy one
and one that draws in secret alike, if only its choice does not depend on the target's draws to come.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from paceline.core.proposals import TokenVerdict

if TYPE_CHECKING:
    from paceline.core.sampling.rng import Rng

Chances: TypeAlias = Sequence[float]
"""One probability for each token; a shorter one has 0 for the rest."""


def acceptance(target_probs: Chances, draft_probs: Chances | None, token: int) -> float:
    """Return the probability that the target accepts a token: min(1, p / q), or p where q is unknown."""
    return target_probs[token] if draft_probs is None else min(1.0, target_probs[token] / draft_probs[token])


def residual(target_probs: Chances, draft_probs: Chances | None, token: int) -> list[float]:
    """Return the weights to draw from once `token` was refused: what p has more than q, to be normalised.

    Where rounding leaves nothing, p and q are the same, and p is what is left to draw from.
    """
    if draft_probs is None:
        weights = [0.0 if other == token else share for other, share in enumerate(target_probs)]
    else:
        weights = [
            max(0.0, share - (draft_probs[other] if other < len(draft_probs) else 0.0))
            for other, share in enumerate(target_probs)
        ]
    return weights if any(weights) else list(target_probs)


def rejection_sample(
    proposed: Sequence[int],
    draft_probs: Sequence[Chances] | None,
    target_probs: Iterable[Chances],
    rng: Rng,
) -> TokenVerdict:
    """Return the verdict on drawn tokens.

    Args:
        proposed: The draft's tokens.
        draft_probs: For each of them the distribution it was drawn from, or None when that is not known.
        target_probs: For each position, and for the one after, the target's distribution after the tokens before it.
            Asked for no further than tokens are accepted.
        rng: The target's own; they may not have decided anything about the draft.
    """
    rows = iter(target_probs)
    for place, token in enumerate(proposed):
        own, drawn_from = next(rows), None if draft_probs is None else draft_probs[place]
        if not rng.accept(acceptance(own, drawn_from, token)):
            return TokenVerdict(place, (*proposed[:place], rng.draw(residual(own, drawn_from, token))))
    return TokenVerdict(len(proposed), (*proposed, rng.draw(next(rows))))
