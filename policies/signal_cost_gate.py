"""Gate on a draft's probabilities: they are looked at only where stopping early can pay for it.

Asking a draft for the probability of each token costs time, on a GPU a wait for the device. What stopping early can
save is the time of tokens that would have been refused: little, where the draft is cheap. A draft is listened to if

    a token of it costs at least 0.15 of a plain step, and
    listening makes a token at most 1.12 times as dear,

both as measured: the first rounds of a draft go unheard, so that there is something to compare with, and one round in
64 goes the other way. In simulations on recorded texts, stopping early gained about 2 % where a token cost 0.19 of a
plain step, and nothing where it cost 0.06.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.policies.state import check_count, check_list

if TYPE_CHECKING:
    from paceline.core.records import Round, RoundStart

DEAR = 0.15  # lies between the two prices at which stopping early was tried, 0.06 and 0.19
BEARABLE = 1.12  # twice the noise of a token's time, and about what listening takes on a CPU
UNHEARD = (
    4  # rounds of a new draft before it is listened to: the first few are slow, and their mean must settle
)
TRIAL_EVERY = 64  # rounds, so that a trial that goes wrong is lost in the rest
WEIGHT = 0.2  # of the latest round in the mean time of a token


class SignalCostGate:
    """Knows, for each draft, how long a token takes unheard and heard."""

    def __init__(self) -> None:
        # By draft: rounds, seconds a token unheard, seconds a token heard.
        self._times: dict[str, list[float]] = {}

    def pays(self, start: RoundStart, draft: str) -> bool:
        """Tell whether to listen to this draft in the round that starts now."""
        rounds, unheard_s, heard_s = self._times.get(draft, (0.0, 0.0, 0.0))
        if rounds < UNHEARD or start.costs.draft_s(draft, 1) < DEAR * start.costs.verify_s(1, start.context):
            return False
        bearable = heard_s <= BEARABLE * unheard_s
        return not bearable if rounds % TRIAL_EVERY == 0 else bearable

    def observe(self, done: Round) -> None:
        """Note how long a token took; a round that had to catch up says nothing about that."""
        draft = done.plan.draft
        if draft is None or not done.drafted or done.lag > 1:
            return
        times = self._times.setdefault(draft, [0.0, 0.0, 0.0])
        times[0] += 1
        side = 2 if done.signals else 1
        token_s = done.draft_s / done.drafted
        times[side] += (token_s - times[side]) * (WEIGHT if times[side] else 1.0)

    def save(self) -> dict[str, list[float]]:
        """Return the times as JSON-able values."""
        return {draft: list(times) for draft, times in self._times.items()}

    def load(self, saved: object) -> None:
        """Replace the times by saved ones.

        Raises:
            ValueError: They are damaged; nothing is changed.
        """
        if not isinstance(saved, dict):
            raise ValueError("the saved state is damaged: listening is not a mapping of drafts")  # noqa: TRY004 - callers are promised ValueError
        self._times = {
            str(draft): [check_count(one, "a time of a draft") for one in check_list(row, "times", length=3)]
            for draft, row in saved.items()
        }
