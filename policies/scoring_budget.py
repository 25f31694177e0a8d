"""Budget of scoring: which drafts to ask what they would have made of a round that another one drafted.

Asking costs what the answer costs: next to nothing for prompt lookup, a forward pass over whatever it has not read yet
for a model. So each idle draft saves a share of the time of every round, is asked when that covers what the cost model
says the answer will take, and pays what it took: prompt lookup answers every round, a small model every few rounds, a
large one rarely.

When several were asked, only the sum of their seconds is known. It is divided as the cost model had priced them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.policies.state import check_count, check_list

if TYPE_CHECKING:
    from paceline.core.records import Round, RoundStart


class ScoringBudget:
    """Spreads the questions so that answering them takes no more than a share of the time.

    Args:
        share: Of the time, for each draft.
        at_once: Whether a new draft is asked before it has saved anything, if that takes no longer than a plain step.
    """

    def __init__(self, share: float, *, at_once: bool = False) -> None:
        self._share, self._at_once = share, at_once
        self._saved_s: dict[str, float] = {}
        self._owed_s: dict[str, float] = {}  # answers took longer than what was saved
        self._prices: dict[str, float] = {}

    def whom(self, start: RoundStart, planned: str | None) -> frozenset[str]:
        """Return the drafts to ask, none of them the planned one; drafts with nothing to propose are not asked."""
        self._prices = {}
        if len(start.drafts) == 1 and planned is not None:
            return frozenset()
        costs = start.costs
        for draft, (lag, match_length) in start.drafts.items():
            if draft == planned or match_length == 0:
                continue
            price_s = costs.draft_s(draft, 1, lag)
            if draft not in self._saved_s:
                lent_s = costs.verify_s(1, start.context) if self._at_once else 0.0
                self._saved_s[draft] = min(price_s, lent_s)
            if price_s + self._owed_s.get(draft, 0.0) <= self._saved_s[draft]:
                self._prices[draft] = price_s
        return frozenset(self._prices)

    def observe(self, done: Round) -> None:
        """Let the idle drafts save, and pay for their answers; who drafted or cannot answer starts to save anew."""
        if done.scores:
            self._pay(done)
        more_s = self._share * done.total_s
        for draft, saved_s in self._saved_s.items():
            heard = draft == done.plan.draft or (draft in done.plan.score and draft not in done.scores)
            self._saved_s[draft] = more_s if heard else saved_s + more_s

    def save(self) -> dict[str, list[float]]:
        """Return the state as JSON-able values."""
        return {draft: [saved_s, self._owed_s.get(draft, 0.0)] for draft, saved_s in self._saved_s.items()}

    def load(self, saved: object) -> None:
        """Take over a state.

        Raises:
            ValueError: It is damaged; nothing is changed.
        """
        if not isinstance(saved, dict):
            raise ValueError("the saved state is damaged: asking is not a mapping of drafts")  # noqa: TRY004 - callers are promised ValueError
        read = {
            str(draft): [
                float(check_count(one, f"the seconds saved or owed by draft {draft!r}"))
                for one in check_list(row, f"the account of draft {draft!r}", length=2)
            ]
            for draft, row in saved.items()
        }
        self._saved_s = {draft: saved_s for draft, (saved_s, _) in read.items()}
        self._owed_s = {draft: owed_s for draft, (_, owed_s) in read.items() if owed_s}
        self._prices = {}

    def _pay(self, done: Round) -> None:
        prices = {draft: self._prices.get(draft, 0.0) for draft in done.scores}
        total_s = sum(prices.values())
        for draft, price_s in prices.items():
            part = price_s / total_s if total_s > 0.0 else 1.0 / len(prices)
            left_s = self._saved_s.get(draft, 0.0) - self._owed_s.pop(draft, 0.0) - part * done.score_s
            self._saved_s[draft] = max(left_s, 0.0)
            if left_s < 0.0:
                self._owed_s[draft] = -left_s
