"""Rejection sampling in plain Python: from a model's scores to the verdict on drawn draft tokens.

Scores are processed as transformers does it, in the same order
(https://huggingface.co/docs/transformers/internal/generation_utils). A score is a logit; -inf is impossible.

Drawn draft tokens are accepted so that the text is distributed as the target's own. With p the target's distribution at
a position and q the one the draft drew its token x from:

    accept x with probability min(1, p(x) / q(x));
    where one is refused, draw from max(p - q, 0), normalised, and drop the tokens after it;
    where all were accepted, draw one more from p.

Source: Leviathan et al. 2023 (https://arxiv.org/abs/2211.17192), algorithm 1, and Chen et al. 2023
(https://arxiv.org/abs/2302.01318), algorithm 2, which are the same.

A token whose q is unknown counts as certain, q(x) = 1: it is accepted with probability p(x), else the target draws
among the others. What comes out is then distributed as p whatever x was, so this holds for any draft, a greedy one
and one that draws in secret alike, if only its choice does not depend on the target's draws to come.

Of a tree the children of a place are tried one after the other. Where one is refused, what is left of p takes its
place,

    p <- norm(max(p - q, 0)),

and the next child is judged against that and the q it was drawn from itself: the draft's, without the siblings drawn
before it, normalised. Where all are refused the target draws from what is left; where one is accepted, its own children
come next. Source: Miao et al. 2023 (SpecInfer, https://arxiv.org/abs/2305.09781), multi-step speculative sampling;
without replacement as in EAGLE (Li et al. 2024, https://arxiv.org/abs/2401.15077). Children whose q is unknown count as
certain, one after the other, which comes to this: the target draws from p, and is followed where it draws one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from paceline.core.processors import process_row
from paceline.core.proposals import TokenVerdict
from paceline.core.trees import ROOT, PathVerdict, TokenTree, children

if TYPE_CHECKING:
    from paceline.core.optional_protocols import TreeProposal
    from paceline.core.sampling import Sampling

IMPOSSIBLE = -math.inf

Probs: TypeAlias = Sequence[float]
"""One probability for each token; a shorter one has 0 for the rest."""


def process_logits(scores: Sequence[float], sampling: Sampling, context: Sequence[int]) -> list[float]:
    """Return the scores of the token after `context` with penalty, processors, temperature and the cuts applied."""
    processed: list[float] = list(scores)
    if sampling.repetition_penalty != 1.0:
        for token in {token for token in context if token < len(processed)}:
            score, penalty = processed[token], sampling.repetition_penalty
            processed[token] = score * penalty if score < 0 else score / penalty
    processed = process_row(sampling.processors, context, processed)
    if sampling.greedy:
        return processed
    processed = [score / sampling.temperature for score in processed]
    if sampling.top_k is not None:
        least = sorted(processed, reverse=True)[: sampling.top_k][-1]
        processed = [score if score >= least else IMPOSSIBLE for score in processed]
    if sampling.top_p is not None and sampling.top_p < 1.0:
        processed = _top_p(processed, sampling.top_p)
    if sampling.min_p is not None:
        probs = softmax(processed)
        least = sampling.min_p * max(probs)
        processed = [
            score if prob >= least else IMPOSSIBLE for score, prob in zip(processed, probs, strict=True)
        ]
    if sampling.typical_p is not None:
        processed = _typical(processed, sampling.typical_p)
    return processed


def probs_of(processed: Sequence[float], sampling: Sampling) -> list[float]:
    """Return the probabilities that processed scores stand for; all on the first of the likeliest when greedy."""
    if not sampling.greedy:
        return softmax(processed)
    best = max(range(len(processed)), key=processed.__getitem__)
    return [float(token == best) for token in range(len(processed))]


def softmax(scores: Sequence[float]) -> list[float]:
    """Return probabilities proportional to exp(score)."""
    top = max(scores)
    weights = [math.exp(score - top) for score in scores]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def _top_p(scores: list[float], mass: float) -> list[float]:
    probs = softmax(scores)
    rising = sorted(range(len(scores)), key=probs.__getitem__)
    # The likeliest token stays, whatever the rounding of the sums says.
    for token, below in zip(rising[:-1], accumulate(probs[token] for token in rising), strict=False):
        if below <= 1.0 - mass:
            scores[token] = IMPOSSIBLE
    return scores


def _typical(scores: list[float], mass: float) -> list[float]:
    probs = softmax(scores)
    entropy = -math.fsum(prob * math.log(prob) for prob in probs if prob)
    away = [abs(-math.log(prob) - entropy) if prob else math.inf for prob in probs]
    nearest = sorted(range(len(scores)), key=away.__getitem__)
    needed = sum(1 for total in accumulate(probs[token] for token in nearest) if total < mass)
    farthest = away[nearest[min(needed, len(nearest) - 1)]]
    return [
        score if far <= farthest or token == nearest[0] else IMPOSSIBLE
        for token, (score, far) in enumerate(zip(scores, away, strict=True))
    ]


class Rng(Protocol):
    """A source of random decisions."""

    def accept(self, probability: float) -> bool:
        """Return True with a probability from 0 to 1."""
        ...

    def draw(self, weights: Sequence[float]) -> int:
        """Return an index with a probability proportional to its weight; weights are not negative, not all 0."""
        ...


class SeededRng:
    """Pseudo-random numbers, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def accept(self, probability: float) -> bool:
        """Return True with this probability."""
        return self._random.random() < probability

    def draw(self, weights: Sequence[float]) -> int:
        """Return an index with a probability proportional to its weight."""
        return self._random.choices(range(len(weights)), weights)[0]


def acceptance_prob(target_probs: Probs, draft_probs: Probs | None, token: int) -> float:
    """Return the probability that the target accepts a token: min(1, p / q), or p where q is unknown."""
    return target_probs[token] if draft_probs is None else min(1.0, target_probs[token] / draft_probs[token])


def residual(target_probs: Probs, draft_probs: Probs | None, token: int) -> list[float]:
    """Return the weights to draw from once `token` was refused: what p has more than q, to be normalised.

    Where rounding leaves nothing, p and q are the same, and p is what is left to draw from.
    """
    if draft_probs is None:
        weights = [0.0 if other == token else prob for other, prob in enumerate(target_probs)]
    else:
        weights = [
            max(0.0, prob - (draft_probs[other] if other < len(draft_probs) else 0.0))
            for other, prob in enumerate(target_probs)
        ]
    return weights if any(weights) else list(target_probs)


def rejection_sample(
    proposed: Sequence[int],
    draft_probs: Sequence[Probs] | None,
    target_probs: Iterable[Probs],
    rng: Rng,
    *,
    residual_of: Callable[[Any, Any, int], Any] | None = None,
) -> TokenVerdict:
    """Return the verdict on drawn tokens.

    Args:
        proposed: The draft's tokens.
        draft_probs: For each of them the distribution it was drawn from, or None when that is not known.
        target_probs: For each position, and for the one after, the target's distribution after the tokens before it.
            Asked for no further than tokens are accepted.
        rng: The target's own; they may not have decided anything about the draft.
        residual_of: Stands in for `residual` where distributions are arrays of a library, which it works on as a whole:
            returns the weights to draw from, of p, q and the token that was refused.
    """
    rows, weights_of = iter(target_probs), residual if residual_of is None else residual_of
    for place, token in enumerate(proposed):
        own, drawn_from = next(rows), None if draft_probs is None else draft_probs[place]
        if not rng.accept(acceptance_prob(own, drawn_from, token)):
            return TokenVerdict(place, (*proposed[:place], rng.draw(weights_of(own, drawn_from, token))))
    return TokenVerdict(len(proposed), (*proposed, rng.draw(next(rows))))


def rejection_sample_tree(
    tree: TreeProposal,
    target_probs: Callable[[int], Any],
    rng: Rng,
    *,
    residual_of: Callable[[Any, Any, int], Any] | None = None,
) -> PathVerdict:
    """Return the verdict on a tree of draft tokens.

    Args:
        tree: What was drafted; of a `TokenTree` with `draft_probs` its tokens were drawn, else they are certain.
        target_probs: The target's distribution after a node, or after the context for `ROOT`. Asked for along the path
            alone.
        rng: The target's own; they may not have decided anything about the draft.
        residual_of: Stands in for `residual` where distributions are arrays of a library; what it returns adds up to 1.
    """
    left_of = normalised_residual if residual_of is None else residual_of
    drawn_from = tree.draft_probs if isinstance(tree, TokenTree) else None
    below = children(tree.parents)
    path: list[int] = []
    while True:
        node = path[-1] if path else ROOT
        left = target_probs(node)
        for child in below[node + 1]:
            token, draft_probs = tree.tokens[child], None if drawn_from is None else drawn_from[child]
            if rng.accept(acceptance_prob(left, draft_probs, token)):
                path.append(child)
                break
            left = left_of(left, draft_probs, token)
        else:
            return PathVerdict(len(path), (*(tree.tokens[way] for way in path), rng.draw(left)), tuple(path))


def normalised_residual(target_probs: Probs, draft_probs: Probs | None, token: int) -> list[float]:
    """Return `residual` so that it adds up to 1."""
    weights = residual(target_probs, draft_probs, token)
    total = math.fsum(weights)
    return [weight / total for weight in weights]
