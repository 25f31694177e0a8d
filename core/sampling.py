"""Sampling: how tokens are drawn, from a model's scores to the verdict on drawn draft tokens, in plain Python.

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
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, Protocol, TypeAlias

from paceline.core.errors import CapabilityError, describe
from paceline.core.optional_protocols import SampledDraft, SampledTarget
from paceline.core.proposals import TokenVerdict

if TYPE_CHECKING:
    from paceline.core.protocols import Draft, DraftSession, Target, TargetSession

MIN_TEMPERATURE = 1e-3
"""Colder is greedy to any reader; logits divided by much less leave the range of float32."""

IMPOSSIBLE = -math.inf

Probs: TypeAlias = Sequence[float]
"""One probability for each token; a shorter one has 0 for the rest."""


def _require(held: bool, name: str, allowed: str, value: object) -> None:
    if not held:
        raise ValueError(f"{name} must be {allowed}, found {value!r}")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings by which the tokens of one request are drawn. What is None or neutral is not applied.

    The order is that of transformers: repetition penalty, temperature, top-k, top-p, min-p, typical-p. Target and draft
    apply the same to their own logits, each position after the tokens before it.

    Attributes:
        temperature: Logits are divided by it. 0.0 is greedy: the likeliest token once the penalty is applied.
        top_k: Only the k likeliest tokens.
        top_p: The likeliest tokens until their probabilities add up to this (Holtzman et al. 2019, arXiv 1904.09751).
        min_p: Only tokens at least this likely relative to the likeliest one (Nguyen et al. 2024, arXiv 2407.01082).
        typical_p: The tokens whose information is nearest to the entropy, until their probabilities add up to this
            (Meister et al. 2022, arXiv 2202.00666).
        repetition_penalty: Logits of tokens that stand in the context are divided by it where positive and multiplied
            where negative (Keskar et al. 2019, arXiv 1909.05858); 1.0 changes nothing.
        seed: Of everything drawn in the request. The same seed and the same plans give the same text.

    Raises:
        ValueError: A value is out of its range, or is given with temperature 0.0, where it would do nothing.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        colder = f"0.0 (greedy), or {MIN_TEMPERATURE} and more"
        hot = math.isfinite(self.temperature) and self.temperature >= MIN_TEMPERATURE
        _require(self.temperature == 0.0 or hot, "temperature", colder, self.temperature)
        _require(self.top_k is None or self.top_k >= 1, "top_k", "at least 1", self.top_k)
        _require(self.top_p is None or 0.0 < self.top_p <= 1.0, "top_p", "in (0, 1]", self.top_p)
        _require(self.min_p is None or 0.0 <= self.min_p <= 1.0, "min_p", "in [0, 1]", self.min_p)
        typical = self.typical_p
        _require(typical is None or 0.0 < typical < 1.0, "typical_p", "in (0, 1)", typical)
        penalty = self.repetition_penalty
        _require(math.isfinite(penalty) and penalty > 0.0, "repetition_penalty", "above 0", penalty)
        if self.greedy:
            for name in ("top_k", "top_p", "min_p", "typical_p"):
                value = getattr(self, name)
                _require(value is None, name, "left out at temperature 0.0, which is greedy", value)

    @property
    def greedy(self) -> bool:
        """Whether nothing is drawn: each token is the likeliest one."""
        return self.temperature == 0.0

    @property
    def plain(self) -> bool:
        """Whether this is plain greedy decoding, which every target can do."""
        return self.greedy and self.repetition_penalty == 1.0

    def of(self, role: str) -> Sampling:
        """Return the same settings with the seed of one role.

        No two roles may draw the same numbers: a draft whose draws are known from the target's, or from those that
        another draft made before, is no longer distributed as it says, and the text would not be either.
        """
        digest = hashlib.blake2b(f"{self.seed}/{role}".encode(), digest_size=8).digest()
        return replace(self, seed=int.from_bytes(digest) >> 1)


GREEDY = Sampling(temperature=0.0)
"""Plain greedy decoding."""


def process(scores: Sequence[float], sampling: Sampling, context: Iterable[int]) -> list[float]:
    """Return the scores of the token after `context` with penalty, temperature and the cuts applied."""
    processed = list(scores)
    if sampling.repetition_penalty != 1.0:
        for token in {token for token in context if token < len(processed)}:
            score, penalty = processed[token], sampling.repetition_penalty
            processed[token] = score * penalty if score < 0 else score / penalty
    if sampling.greedy:
        return processed
    processed = [score / sampling.temperature for score in processed]
    if sampling.top_k is not None:
        least = sorted(processed, reverse=True)[: sampling.top_k][-1]
        processed = [score if score >= least else IMPOSSIBLE for score in processed]
    if sampling.top_p is not None and sampling.top_p < 1.0:
        processed = _top_p(processed, sampling.top_p)
    if sampling.min_p is not None:
        shares = softmax(processed)
        least = sampling.min_p * max(shares)
        processed = [
            score if share >= least else IMPOSSIBLE for score, share in zip(processed, shares, strict=True)
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


def check_sampling(target: Target, sampling: Sampling) -> None:
    """Refuse to sample with a target that cannot.

    Raises:
        CapabilityError: The target only decodes greedily.
    """
    if sampling.plain or (target.capabilities.sampling and isinstance(target, SampledTarget)):
        return
    raise CapabilityError(
        f"target {describe(target)} cannot sample; leave sampling out, or use temperature 0.0 without "
        "repetition_penalty"
    )


def open_target(target: Target, prompt: Sequence[int], sampling: Sampling) -> TargetSession:
    """Open a session of the target."""
    if sampling.plain:
        return target.open(prompt)
    assert isinstance(target, SampledTarget)  # as checked before
    return target.open_sampled(prompt, sampling.of("target"))


def open_draft(name: str, draft: Draft, prompt: Sequence[int], sampling: Sampling) -> DraftSession:
    """Open a session of a draft; one that cannot sample proposes as it always does, and its tokens count as certain."""
    if sampling.plain or not isinstance(draft, SampledDraft):
        return draft.open(prompt)
    return draft.open_sampled(prompt, sampling.of(f"draft {name}"))


class Rng(Protocol):
    """Decides what is left to chance."""

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


def acceptance(target_probs: Probs, draft_probs: Probs | None, token: int) -> float:
    """Return the probability that the target accepts a token: min(1, p / q), or p where q is unknown."""
    return target_probs[token] if draft_probs is None else min(1.0, target_probs[token] / draft_probs[token])


def residual(target_probs: Probs, draft_probs: Probs | None, token: int) -> list[float]:
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
    draft_probs: Sequence[Probs] | None,
    target_probs: Iterable[Probs],
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
