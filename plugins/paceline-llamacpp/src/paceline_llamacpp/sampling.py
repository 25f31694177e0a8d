"""Sampling over arrays: what `paceline.core.rejection_sampling` does token by token, for a vocabulary at once.

The order is that of `Sampling`: repetition penalty, temperature, top-k, top-p, min-p, typical-p.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from paceline import TokenSignals, process_row

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paceline import Proposal, Sampling, Signal

    Floats = NDArray[np.floating[Any]]


class Sampler:
    """Draws the tokens of one request.

    Args:
        sampling: How tokens are drawn.
        prompt: Counts for the repetition penalty.
    """

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        self.sampling = sampling
        self.rng = ArrayRng(sampling.seed)
        self._seen = set(prompt) if sampling.repetition_penalty != 1.0 else None
        self._text = list(prompt) if sampling.processors else None

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in tokens that were delivered."""
        if self._seen is not None:
            self._seen.update(tokens)
        if self._text is not None:
            self._text.extend(tokens)

    def process(self, logits: Floats, guess: Sequence[int]) -> Floats:
        """Return the scores of the token after context and guess: penalty, processors, temperature, cuts applied."""
        sampling, scores = self.sampling, np.array(logits, dtype=np.float64)
        if self._seen is not None:
            there = np.fromiter((token for token in {*self._seen, *guess} if token < len(scores)), np.intp)
            known = scores[there]
            penalty = sampling.repetition_penalty
            scores[there] = np.where(known < 0, known * penalty, known / penalty)
        if self._text is not None:
            scores = process_row(sampling.processors, [*self._text, *guess], scores)
        if sampling.greedy:
            return scores
        scores = scores / sampling.temperature
        if sampling.top_k is not None and sampling.top_k < len(scores):
            scores[scores < np.partition(scores, -sampling.top_k)[-sampling.top_k]] = -np.inf
        if sampling.top_p is not None and sampling.top_p < 1.0:
            _cut_top_p(scores, sampling.top_p)
        if sampling.min_p is not None:
            probs = softmax(scores)
            scores[probs < sampling.min_p * probs.max()] = -np.inf
        if sampling.typical_p is not None:
            _cut_typical(scores, sampling.typical_p)
        return scores

    def probs(self, scores: Floats) -> Floats:
        """Return the probabilities that processed scores stand for; all on the first of the likeliest when greedy."""
        if not self.sampling.greedy:
            return softmax(scores)
        certain = np.zeros(len(scores))
        certain[scores.argmax()] = 1.0
        return certain

    def token_probs(self, logits: Floats, tokens: Sequence[int]) -> list[float]:
        """Return how probable it is that each of `tokens` is drawn after those before it; row i is about token i."""
        rows = (self.probs(self.process(row, tokens[:place])) for place, row in enumerate(logits))
        return [
            float(probs[token]) if token < len(probs) else 0.0
            for probs, token in zip(rows, tokens, strict=True)
        ]


class ArrayRng:
    """Pseudo-random decisions over arrays, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def accept(self, probability: float) -> bool:
        """Return True with this probability."""
        return self._random.random() < probability

    def draw(self, weights: Sequence[float] | Floats) -> int:
        """Return an index with a probability proportional to its weight."""
        sums = np.cumsum(weights)
        # A draw that rounding pushes past the last sum belongs to the last weight that is not 0.
        place = int(np.searchsorted(sums, self._random.random() * sums[-1], side="right"))
        return min(place, int(np.searchsorted(sums, sums[-1])))


def draft_probs_of(proposal: Proposal | None) -> list[Any] | None:
    """Return an array for each token of what it was drawn from; None where the proposal is silent.

    Proposals of other backends may hold theirs as a tensor, which is read where it lies in the machine's memory.
    """
    draft_probs = getattr(proposal, "draft_probs", None)
    if draft_probs is None:
        return None
    try:
        return [np.asarray(row) for row in draft_probs]
    except TypeError:  # a tensor of a device: each token then counts as certain, which is lossless as well
        return None


def residual(target_probs: Floats, draft_probs: Any, token: int) -> Floats:
    """Return the weights to draw from once `token` was refused, as `rejection_sample` asks for them."""
    weights = target_probs.copy()
    if draft_probs is None:
        weights[token] = 0.0
    else:
        common = np.asarray(draft_probs)[: len(weights)]
        weights[: len(common)] -= common
        np.maximum(weights, 0.0, out=weights)
    return weights if weights.any() else target_probs


def softmax(scores: Floats) -> Floats:
    """Return probabilities proportional to exp(score)."""
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()  # type: ignore[no-any-return]


def token_signals(scores: Floats, token: int, position: int, names: frozenset[Signal]) -> TokenSignals:
    """Return signals of one draft token.

    Args:
        scores: Of the distribution that the token was drawn from.
        token: The token drawn.
        position: 0 for the first draft token of the round.
        names: Only these are computed.
    """
    if not names - {"token"}:
        return TokenSignals(position, token=token if names else None)
    probs = softmax(np.asarray(scores, dtype=np.float64))
    values: dict[str, float] = {}
    if names & {"top1", "margin"}:
        second, first = np.partition(probs, -2)[-2:] if len(probs) > 1 else (0.0, probs[0])
        values = {"top1": float(first), "margin": float(first - second)}
    if "prob" in names:
        values["prob"] = float(probs[token])
    if "entropy" in names:
        likely = probs[probs > 0]
        values["entropy"] = float(-(likely * np.log(likely)).sum())
    named = {name: value for name, value in values.items() if name in names}
    return TokenSignals(position, token=token if "token" in names else None, **named)


def _cut_top_p(scores: Floats, mass: float) -> None:
    probs = softmax(scores)
    rising = np.argsort(probs, kind="stable")
    below = np.cumsum(probs[rising])
    cut = below <= 1.0 - mass
    cut[-1] = False  # the likeliest token stays, whatever the rounding of the sums says
    scores[rising[cut]] = -np.inf


def _cut_typical(scores: Floats, mass: float) -> None:
    probs = softmax(scores)
    logs = np.log(probs, out=np.full(len(probs), -np.inf), where=probs > 0)
    entropy = -(probs * np.where(probs > 0, logs, 0.0)).sum()
    away = np.where(probs > 0, np.abs(-logs - entropy), np.inf)
    nearest = np.argsort(away, kind="stable")
    needed = int((np.cumsum(probs[nearest]) < mass).sum())
    keep = away <= away[nearest[min(needed, len(nearest) - 1)]]
    keep[nearest[0]] = True
    scores[~keep] = -np.inf
