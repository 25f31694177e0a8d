"""The gamma of least time per token, given the chance of each position and the costs measured so far.

A round of gamma tokens of which S_k reach position k accepted yields E = 1 + S_1 + ... + S_gamma tokens in T seconds,
the sum of drafting and verifying; the best gamma has the least T / E (Leviathan et al. 2023,
https://arxiv.org/abs/2211.17192, section 3.4, with a chance for each position and with costs as measured).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.policies.catch_up import catch_up_share_s
from paceline.policies.round_times import round_times

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paceline.core.records import RoundStart


def best_gamma(
    start: RoundStart,
    draft: str,
    gammas: Sequence[int],
    chances: Iterator[float],
    best_s: float,
    *,
    lagging: bool = True,
) -> tuple[int, float]:
    """Return the gamma of least time per token and that time, or gamma 0 when none takes less than `best_s`.

    Args:
        start: Costs, context and lag of the draft are taken from it.
        draft: The draft that would propose.
        gammas: What may be planned, ascending, without 0.
        chances: The chance of each position to be accepted once it is reached; read only as far as the scan gets.
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
        survival *= next(chances, 0.0)  # an engine may force a gamma that is not counted
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
