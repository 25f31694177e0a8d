"""Which drafts to ask what they would have made of a round that another one drafted.

Asking costs what the answer costs: next to nothing for prompt lookup, a forward pass over whatever it has not read yet
for a model. So each draft is asked as soon as its answer takes no more than a share of the time since it was last heard
of: prompt lookup every round, a small model every few rounds, a large one rarely.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.policies.state import check_count

if TYPE_CHECKING:
    from paceline.core.records import Plan, Round, RoundStart


class Asking:
    """Spreads the questions so that answering them takes a given share of the time.

    Args:
        share: Of the time, for each draft.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._since: dict[str, int] = {}

    def whom(self, start: RoundStart, plan: Plan) -> frozenset[str]:
        """Return the drafts to ask, none of them the planned one; drafts with nothing to propose are not asked."""
        if len(start.lags) == 1 and plan.draft is not None:
            return frozenset()
        for draft in start.lags:
            self._since.setdefault(draft, 1)
        budget_s = self._share * start.costs.verify_s(1, start.context)
        return frozenset(
            draft
            for draft, lag in start.lags.items()
            if draft != plan.draft
            and start.hints.get(draft, 1)
            and start.costs.draft_s(draft, 1, lag) <= budget_s * self._since[draft]
        )

    def observe(self, done: Round) -> None:
        """Note who drafted and who was asked; a draft that cannot answer is asked again as rarely."""
        for draft in self._since:
            self._since[draft] += 1
        if done.plan.draft is not None:
            self._since[done.plan.draft] = 1
        for draft in done.plan.score:
            self._since[draft] = 1

    def save(self) -> dict[str, int]:
        """Return the state as JSON-able values."""
        return dict(self._since)

    def load(self, saved: object) -> None:
        """Take over a state.

        Raises:
            ValueError: It is damaged; nothing is changed.
        """
        if not isinstance(saved, dict):
            raise ValueError("the saved state is damaged: asking is not a mapping of drafts")  # noqa: TRY004 - callers are promised ValueError
        self._since = {
            str(draft): int(check_count(count, f"the rounds since {draft!r} was heard of", whole=True))
            for draft, count in saved.items()
        }
