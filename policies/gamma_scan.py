"""The gamma of least time per token, given the probability of each position and the costs measured so far.

A round of gamma tokens of which S_k reach position k accepted yields E = 1 + S_1 + ... + S_gamma tokens in T seconds,
the sum of drafting and verifying; the best gamma has the least T / E (Leviathan et al. 2023,
https://arxiv.org/abs/2211.17192, section 3.4, with a probability for each position and with costs as measured).
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paceline.core.optional_protocols import Tabulated
    from paceline.core.protocols import Costs
    from paceline.core.records import RoundStart


def positive_gammas(gammas: Sequence[int]) -> Sequence[int]:
    """Return those of ascending `gammas` that draft anything."""
    return gammas[1:] if gammas[0] == 0 else gammas


def largest_at_most(gammas: Sequence[int], limit: int) -> int:
    """Return the largest of ascending `gammas` that is not above `limit`, or the smallest of them."""
    return gammas[max(bisect_right(gammas, limit) - 1, 0)]


def catch_up_share_s(start: RoundStart, draft: str) -> float:
    """Return the seconds of catching up that fall to each token still wanted.

    Reading an unread prompt may cost as much as many rounds, but it is paid once: afterwards every round of the
    request profits. Held against a single round it would forbid drafting for ever, since the lag of a draft that
    rests only grows. Finishing the n tokens still wanted takes n T/E seconds without a lag, where T is the time of a
    round and E the tokens it yields, and n T/E + K with a catch-up of K seconds; so a lag adds K / n to the time of
    each token. With few tokens left the same sum says, rightly, that reading the prompt no longer pays.

    This takes the budget at its word. A text that ends much sooner than allowed earns back less than was assumed.
    """
    lag = start.drafts[draft].lag
    if lag <= 0:
        return 0.0
    once_s = start.costs.draft_s(draft, 1, lag) - start.costs.draft_s(draft, 1)
    return max(once_s, 0.0) / (start.budget + 1)


def round_times(start: RoundStart, draft: str, longest: int) -> tuple[Sequence[float], float]:
    """Return the seconds of rounds of 0, 1, ..., `longest` tokens or more without a lag, and what each takes besides.

    See `Tabulated.round_s`.
    """
    costs: Costs | Tabulated = start.costs
    if hasattr(costs, "round_s"):  # isinstance(costs, Tabulated) would take longer than the answer
        return costs.round_s(draft, longest, start.context)
    return [
        costs.draft_s(draft, gamma) + costs.verify_s(gamma + 1, start.context) for gamma in range(longest + 1)
    ], 0.0


def best_gamma(
    start: RoundStart,
    draft: str,
    gammas: Sequence[int],
    acceptance_probs: Iterator[float],
    best_s: float,
    *,
    lagging: bool = True,
) -> tuple[int, float]:
    """Return the gamma of least time per token and that time, or gamma 0 when none takes less than `best_s`.

    Args:
        start: Costs, context and lag of the draft are taken from it.
        draft: The draft that would propose.
        gammas: What may be planned, ascending, without 0.
        acceptance_probs: The probability of each position to be accepted once it is reached; read only as far as the
            scan gets.
        best_s: Seconds per token to beat.
        lagging: Whether the price of catching up counts.

    The scan ends where no larger gamma can win: each further token would yield at most one more times the survival so
    far, and cost no less than the second one does to draft; the first may hold a price of starting.
    """
    costs, longest = start.costs, gammas[-1]
    share_s = catch_up_share_s(start, draft) if lagging else 0.0
    step_s = max(costs.draft_s(draft, 2) - costs.draft_s(draft, 1), 0.0)
    rounds_s, context_s = round_times(start, draft, longest)
    best, survival, tokens = 0, 1.0, 1.0
    every = len(gammas) == longest
    for gamma in range(1, longest + 1):
        survival *= next(acceptance_probs, 0.0)  # an engine may force a gamma that is not counted
        tokens += survival
        if not every and gamma not in gammas:
            continue
        round_s = rounds_s[gamma] + context_s
        token_s = round_s / tokens + share_s
        if token_s < best_s:
            best, best_s = gamma, token_s
        else:
            more = longest - gamma
            if (round_s + more * step_s) / (tokens + more * survival) + share_s >= best_s:
                break
    return best, best_s
