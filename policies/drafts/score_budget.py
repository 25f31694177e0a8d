"""How often drafts are asked to score: as often as a share of the time pays for.

What scoring has taken so far is held against the time of all rounds so far, both fading: drafts are asked again as
soon as it is below the share. So drafts whose scoring takes x times a round are asked about every x / share rounds.
One that hardly adds to what scoring takes, as prompt lookup, is asked every round.

When several were asked, only the sum of their seconds is known. It is divided as the cost model would price it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from paceline.policies.state import check_count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paceline.core.records import Round, RoundStart

FREE = 0.01  # of the seconds that all scoring took: what is below is not worth saving
KEEP = 0.999  # a memory of about a thousand rounds: long against the waits, short enough to follow changing costs


class ScoreBudget:
    """Keeps account of one share of the time.

    Args:
        share: Of the time, for all drafts together.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._total_s = 0.0
        self._spent_s: dict[str, float] = {}
        self._prices: dict[str, float] = {}

    def afford(self, start: RoundStart, drafts: Iterable[str]) -> frozenset[str]:
        """Return those of `drafts` that may be asked this round."""
        spent_s = sum(self._spent_s.values())
        most_s = math.inf if spent_s <= self._share * self._total_s else FREE * spent_s
        asked = [draft for draft in drafts if self._spent_s.get(draft, 0.0) <= most_s]
        self._prices = (
            {draft: start.costs.draft_s(draft, 1, start.lags[draft]) for draft in asked}
            if len(asked) > 1
            else {}
        )
        return frozenset(asked)

    def observe(self, done: Round) -> None:
        """Enter a round into the accounts."""
        self._total_s = self._total_s * KEEP + done.total_s
        for draft in self._spent_s:
            self._spent_s[draft] *= KEEP
        prices = {draft: self._prices.get(draft, 0.0) for draft in done.scores}
        total = sum(prices.values())
        for draft, price in prices.items():
            part_s = done.score_s * (price / total if total > 0.0 else 1.0 / len(prices))
            self._spent_s[draft] = self._spent_s.get(draft, 0.0) + part_s

    def state_dict(self) -> dict[str, Any]:
        """Return the accounts."""
        return {"total_s": self._total_s, "spent_s": dict(self._spent_s)}

    def load_state_dict(self, state: object) -> None:
        """Take over accounts.

        Raises:
            ValueError: The state is damaged; nothing is changed.
        """
        spent = state.get("spent_s") if isinstance(state, dict) else None
        if not isinstance(state, dict) or not isinstance(spent, dict):
            raise ValueError("the saved state is damaged: budget is not a mapping of seconds")  # noqa: TRY004 - callers are promised ValueError
        total_s = float(check_count(state.get("total_s"), "total_s"))
        self._spent_s = {
            str(draft): float(check_count(one, f"the seconds of draft {draft!r}"))
            for draft, one in spent.items()
        }
        self._total_s = total_s
