"""Budget of time for idle drafts to score the rounds that another one drafted.

Asking costs what the answer costs: next to nothing for prompt lookup, a forward pass over whatever it has not read yet
for a model. So each idle draft saves a share of the time of every round, is asked when that covers what the cost model
says the answer will take, and pays what it took: prompt lookup answers every round, a small model every few rounds, a
large one rarely.

When several were asked, only the sum of their seconds is known. It is divided as the cost model had priced them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from paceline.core.state.declared import Amount, PolicyState, Unsaved

if TYPE_CHECKING:
    from paceline.core.records import Round, RoundStart


@dataclass(slots=True)
class ScoringBudget(PolicyState):
    """Spreads the questions so that answering them takes no more than a share of the time.

    Attributes:
        share: Of the time, for each draft.
        at_once: Whether a new draft is asked before it has saved anything, if that takes no longer than a plain step.
        saved_s: What each draft has saved.
        owed_s: What answers took beyond what was saved.
        prices: Of the drafts that were asked to score the round under way.
    """

    share: Unsaved[float]
    at_once: Unsaved[bool] = False
    saved_s: dict[str, Amount] = field(default_factory=partial(defaultdict, float))
    owed_s: dict[str, Amount] = field(default_factory=partial(defaultdict, float))
    prices: Unsaved[dict[str, float]] = field(default_factory=dict)

    def select(self, start: RoundStart, planned: str | None) -> frozenset[str]:
        """Return the drafts to ask, none of them the planned one; drafts with nothing to propose are not asked."""
        self.prices = {}
        if len(start.drafts) == 1 and planned is not None:
            return frozenset()
        costs = start.costs
        for draft, (lag, match_length) in start.drafts.items():
            if draft == planned or match_length == 0:
                continue
            price_s = costs.draft_s(draft, 1, lag)
            if draft not in self.saved_s:
                lent_s = costs.verify_s(1, start.context) if self.at_once else 0.0
                self.saved_s[draft] = min(price_s, lent_s)
            if price_s + self.owed_s.get(draft, 0.0) <= self.saved_s[draft]:
                self.prices[draft] = price_s
        return frozenset(self.prices)

    def observe(self, done: Round) -> None:
        """Let the idle drafts save, and pay for their answers; who drafted or cannot answer starts to save anew."""
        if done.scores:
            self._pay(done)
        more_s = self.share * done.total_s
        for draft, saved_s in self.saved_s.items():
            heard = draft == done.plan.draft or (draft in done.plan.score and draft not in done.scores)
            self.saved_s[draft] = more_s if heard else saved_s + more_s

    def _pay(self, done: Round) -> None:
        prices = {draft: self.prices.get(draft, 0.0) for draft in done.scores}
        total_s = sum(prices.values())
        for draft, price_s in prices.items():
            part = price_s / total_s if total_s > 0.0 else 1.0 / len(prices)
            left_s = self.saved_s.get(draft, 0.0) - self.owed_s.pop(draft, 0.0) - part * done.score_s
            self.saved_s[draft] = max(left_s, 0.0)
            if left_s < 0.0:
                self.owed_s[draft] = -left_s
