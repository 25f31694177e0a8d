"""Look at a draft's probabilities only where stopping early can pay for it.

Asking a draft for the probability of each token costs time, on a GPU a wait for the device. What stopping early can
save is the time of tokens that would have been refused: little, where the draft is cheap. A draft is listened to if

    a token of it costs at least 0.1 of a plain step, and
    listening makes a token at most 1.12 times as dear,

both as measured: the first rounds of a draft go unheard, so that there is something to compare with, and one round in
64 again, in either direction. In simulations on recorded texts, stopping early gained about 4 % where a token cost 0.19
of a plain step, and nothing where it cost 0.06.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from paceline.policies.state import check_count, check_header, check_list

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.core.records import Plan, Requirements, Round, RoundStart, Signal, TokenSignals
    from paceline.policies.estimate.ev_stop import EvStopPolicy

VERSION = 1
DEAR = 0.1
BEARABLE = 1.12
UNHEARD = 4  # rounds of a new draft before it is listened to
TRIAL_EVERY = 64
WEIGHT = 0.2  # of the latest round in the mean time of a token


class Listening:
    """Plans as the policy inside does, and decides whether it gets to hear the draft."""

    def __init__(self, policy: EvStopPolicy) -> None:
        self.policy = policy
        self._times: dict[
            str, list[float]
        ] = {}  # by draft: rounds, seconds a token unheard, seconds a token heard
        self._hearing = False

    @property
    def needs(self) -> frozenset[Signal]:
        """What the policy inside wants to hear."""
        return self.policy.needs

    @property
    def requires(self) -> Requirements:
        """What the policy inside requires."""
        return self.policy.requires

    def plan(self, start: RoundStart) -> Plan:
        """Plan, and listen where it pays."""
        plan = self.policy.plan(start)
        self._hearing = plan.draft is not None and self._pays(start, plan.draft)
        return replace(plan, look=self._hearing)

    def keep(self, signals: TokenSignals) -> bool:
        """Ask the policy inside."""
        return self.policy.keep(signals)

    def observe(self, done: Round) -> None:
        """Learn, and note how long a token took."""
        self.policy.observe(done)
        draft = done.plan.draft
        if draft is None or not done.drafted or done.lag > 1:
            return
        times = self._times.setdefault(draft, [0.0, 0.0, 0.0])
        times[0] += 1
        side = 2 if done.signals else 1
        token_s = done.draft_s / done.drafted
        times[side] += (token_s - times[side]) * (WEIGHT if times[side] else 1.0)

    def state_dict(self) -> dict[str, Any]:
        """Return the times of each draft, and the state of the policy inside."""
        return {
            "policy": "listening",
            "version": VERSION,
            "times": {draft: list(times) for draft, times in self._times.items()},
            "inner": self.policy.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over both.

        Raises:
            ValueError: The state is damaged, or of another policy or version; nothing is changed.
        """
        check_header(state, "listening", VERSION)
        saved, inner = state.get("times"), state.get("inner")
        if not isinstance(saved, dict) or not isinstance(inner, dict):
            raise ValueError("the saved state is damaged: times or inner is not a mapping")  # noqa: TRY004 - callers are promised ValueError
        times = {
            str(draft): [check_count(one, "a time of a draft") for one in check_list(row, "times", length=3)]
            for draft, row in saved.items()
        }
        self.policy.load_state_dict(inner)
        self._times = times

    def _pays(self, start: RoundStart, draft: str) -> bool:
        rounds, unheard_s, heard_s = self._times.get(draft, (0.0, 0.0, 0.0))
        if rounds < UNHEARD or start.costs.draft_s(draft, 1) < DEAR * start.costs.verify_s(1, start.context):
            return False
        bearable = heard_s <= BEARABLE * unheard_s
        return not bearable if rounds % TRIAL_EVERY == 0 else bearable
