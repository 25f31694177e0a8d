"""The draft tokens of several requests that share a pass, for which most tokens are delivered per second.

A pass of R requests delivers R tokens without drafting, in the time of plain batched decoding. Draft token k of a
request delivers S_k more, the probability that it and those before it are accepted, and costs what one more token costs
in the target's pass and the draft's, and a step of the draft where nobody drafts as far. So tokens are added in the
order of what they are worth, S_k less their seconds at the rate that was reached so far, and the plan is that part of
the order, nothing at all among them, of which tokens per second are most:

    (R + sum of S) / (verification(R, draft tokens) + drafting(steps, draft tokens)).

Within a request S never rises, so its tokens come in their own order. That the requests of a batch compete for the
tokens of a pass, at measured costs, is known from SmartSpec and TurboSpec (Liu et al. 2024,
https://arxiv.org/abs/2406.14066, section 5, for one length of all), and that the likeliest tokens of all requests go
first from adaptive verification in vLLM (`acceptance_estimator.py`, after drafts of full length). Leaving out what does
not pay before it is drafted, with costs learnt while decoding, is ours.
"""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PATIENCE = 8
"""Tokens beside one for each request that are added without a gain before the scan ends: the kernels take six rows at a
time, and a step of a draft must be paid by the first of each request."""


class Candidate(NamedTuple):
    """One request that may draft.

    Attributes:
        request: Its number.
        draft: What would draft for it.
        survivals: S_1, S_2, ..., as far as its budget goes.
        once_s: Seconds that its first token costs besides, for catching up.
    """

    request: int
    draft: str
    survivals: Sequence[float]
    once_s: float = 0.0


class DraftPrices(NamedTuple):
    """Seconds of a step of a draft, and of each token in it."""

    step_s: float
    token_s: float


def best_gammas(
    requests: int,
    candidates: Sequence[Candidate],
    prices: Mapping[str, DraftPrices],
    passes_s: Sequence[float],
    context_s: float,
    rate: float,
) -> tuple[dict[int, int], float]:
    """Return the gamma of each request that drafts, by its number, and the seconds per token of the plan.

    Args:
        requests: How many share the pass.
        candidates: Those that may draft.
        prices: Of each draft.
        passes_s: Seconds of verifying 0, 1, ... draft tokens; there are as many as may be drafted in all.
        context_s: What the context adds to each.
        rate: Tokens per second that are reached, as far as is known; what time is worth.
    """
    tokens, drafting_s, depth = float(requests), 0.0, dict.fromkeys(prices, 0)
    best_s = (passes_s[0] + context_s) / tokens
    worth = {draft: rate * (price.step_s / requests + price.token_s) for draft, price in prices.items()}
    heap = [
        (worth[each.draft] - each.survivals[0], number, 0)
        for number, each in enumerate(candidates)
        if each.survivals
    ]
    heapify(heap)
    order: list[int] = []
    best = added = 0
    while heap and added - best < requests + PATIENCE:
        _, number, place = heap[0]
        request, draft, survivals, once_s = candidates[number]
        step_s, token_s = prices[draft]
        drafting_s += token_s
        if place == 0:
            drafting_s += once_s
        if place == depth[draft]:
            depth[draft] += 1
            drafting_s += step_s
        tokens += survivals[place]
        order.append(request)
        added += 1
        seconds = (passes_s[added] + context_s + drafting_s) / tokens
        if seconds < best_s:
            best, best_s = added, seconds
        if place + 1 < len(survivals):
            heapreplace(heap, (worth[draft] - survivals[place + 1], number, place + 1))
        else:
            heappop(heap)
    gammas: dict[int, int] = {}
    for request in order[:best]:
        gammas[request] = gammas.get(request, 0) + 1
    return gammas, best_s
