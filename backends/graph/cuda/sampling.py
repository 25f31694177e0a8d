"""From logits to the scores that tokens are chosen by, with every setting a number on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from paceline.core.sampling import Sampling


Kind = Literal["greedy", "drawn", "cut"]
"""The likeliest token; one drawn at some temperature; one drawn from what top-k, top-p and min-p leave, which sorts the
vocabulary at every position. Each has programs of its own, so that none pays for another."""

SETTINGS = 4
"""Numbers that the settings of a request come to."""


def sampling_kind(sampling: Sampling) -> Kind:
    """Return which programs a request needs.

    Raises:
        BackendError: The settings read the context, sort by information or call Python, which these programs do not.
    """
    if sampling.processors:
        raise BackendError(
            "graph: on a GPU this backend applies no logits processors; leave them out, or use `backend: hf`"
        )
    if sampling.repetition_penalty != 1.0 or sampling.typical_p is not None:
        raise BackendError(
            "graph: on a GPU this backend draws with temperature, top_k, top_p and min_p; repetition_penalty and "
            "typical_p are not built. Leave them out, or use `backend: hf`"
        )
    if sampling.greedy:
        return "greedy"
    cuts = (sampling.top_k, sampling.top_p, sampling.min_p)
    return "drawn" if all(cut is None for cut in cuts) else "cut"


def sampling_numbers(sampling: Sampling, vocabulary: int) -> list[float]:
    """Return temperature, top-k, top-p and min-p; those that are not set change nothing."""
    return [
        sampling.temperature,
        min(sampling.top_k or vocabulary, vocabulary),
        1.0 if sampling.top_p is None else sampling.top_p,
        sampling.min_p or 0.0,
    ]


@dataclass(frozen=True, slots=True, eq=False)
class SamplingParams:
    """Settings that tokens are chosen by.

    Attributes:
        kind: Which programs.
        numbers: On the device, float64, shape (SETTINGS,).
    """

    kind: Kind
    numbers: torch.Tensor

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the scores after temperature and cuts; impossible tokens have -inf. The order is transformers' own.

        Returns:
            float64 where logits to be drawn from are, else float32, so that ties are broken as `generate` breaks them.
        """
        precise = logits.dtype == torch.float64 and self.kind != "greedy"
        scores = logits.to(torch.float64 if precise else torch.float32)
        if self.kind == "greedy":
            return scores
        heat, top_k, top_p, min_p = self.numbers.unbind()
        scores = scores / heat.to(scores.dtype)
        return scores if self.kind == "drawn" else _cut(scores, top_k, top_p, min_p)


def _cut(scores: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor, min_p: torch.Tensor) -> torch.Tensor:
    """Return scores, shape (rows, vocabulary), without the tokens that one of the settings excludes."""
    rising, order = scores.sort(dim=-1)
    width = scores.shape[-1]
    least = rising.index_select(1, (width - top_k).long().view(1))
    rising = rising.masked_fill(rising < least, -torch.inf)
    below = rising.softmax(dim=-1).cumsum(dim=-1) <= (1 - top_p).to(scores.dtype)
    below[:, -1:].zero_()  # the likeliest token stays, whatever the rounding of the sums says
    # Where top_p is 1 nothing is cut; the sums of impossible tokens are 0 as well, and stay impossible.
    rising = rising.masked_fill(below, -torch.inf)
    probs = rising.softmax(dim=-1)
    rising = rising.masked_fill(probs < min_p.to(scores.dtype) * probs[:, -1:], -torch.inf)
    return torch.empty_like(rising).scatter_(1, order, rising)
