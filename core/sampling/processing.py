"""From a model's scores to the probabilities that a token is drawn from, in plain Python.

Does what the processors of transformers do, in their order
(https://huggingface.co/docs/transformers/internal/generation_utils). A score is a logit; -inf is impossible.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paceline.core.sampling.settings import Sampling

IMPOSSIBLE = -math.inf


def process(scores: Sequence[float], sampling: Sampling, context: Iterable[int]) -> list[float]:
    """Return the scores of the token after `context` with penalty, temperature and the cuts applied."""
    found = list(scores)
    if sampling.repetition_penalty != 1.0:
        for token in {token for token in context if token < len(found)}:
            score, penalty = found[token], sampling.repetition_penalty
            found[token] = score * penalty if score < 0 else score / penalty
    if sampling.greedy:
        return found
    found = [score / sampling.temperature for score in found]
    if sampling.top_k is not None:
        least = sorted(found, reverse=True)[: sampling.top_k][-1]
        found = [score if score >= least else IMPOSSIBLE for score in found]
    if sampling.top_p is not None and sampling.top_p < 1.0:
        found = _top_p(found, sampling.top_p)
    if sampling.min_p is not None:
        shares = softmax(found)
        least = sampling.min_p * max(shares)
        found = [score if share >= least else IMPOSSIBLE for score, share in zip(found, shares, strict=True)]
    if sampling.typical_p is not None:
        found = _typical(found, sampling.typical_p)
    return found


def chances(processed: Sequence[float], sampling: Sampling) -> list[float]:
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
    shares = softmax(scores)
    rising = sorted(range(len(scores)), key=shares.__getitem__)
    # The likeliest token stays, whatever the rounding of the sums says.
    for token, below in zip(rising[:-1], accumulate(shares[token] for token in rising), strict=False):
        if below <= 1.0 - mass:
            scores[token] = IMPOSSIBLE
    return scores


def _typical(scores: list[float], mass: float) -> list[float]:
    shares = softmax(scores)
    entropy = -math.fsum(share * math.log(share) for share in shares if share)
    away = [abs(-math.log(share) - entropy) if share else math.inf for share in shares]
    nearest = sorted(range(len(scores)), key=away.__getitem__)
    needed = sum(1 for total in accumulate(shares[token] for token in nearest) if total < mass)
    farthest = away[nearest[min(needed, len(nearest) - 1)]]
    return [
        score if far <= farthest or token == nearest[0] else IMPOSSIBLE
        for token, (score, far) in enumerate(zip(scores, away, strict=True))
    ]
