"""One length policy for each draft: what a policy that chooses the draft holds to choose gamma."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from paceline.core.guards.policy import keeps, state_of
from paceline.core.plugins.catalogue import build_policy
from paceline.policies.nested import load_all, only, seed_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.core.config.blocks import PolicyConfig
    from paceline.core.protocols import Policy
    from paceline.core.records import Plan, Round, RoundStart, TokenSignals


class PerDraftPolicies:
    """Makes a length policy for a draft when it is first asked about it; each sees its own draft and rounds only.

    Args:
        config: Options of the length policy, the same for all drafts.
        seed: Each draft's policy gets its own, which follows from this and its name.
    """

    def __init__(self, config: PolicyConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self._policies: dict[str, Policy] = {}
        self._planned: Policy | None = None
        self.example: Policy = build_policy(config, seed)
        """A policy of this kind, to ask what it needs and requires."""

    def plan(self, start: RoundStart, draft: str) -> Plan:
        """Return the plan of this draft's policy, under the draft's name."""
        self._planned = self.of(draft)
        plan = self._planned.plan(only(start, draft))
        return replace(plan, draft=draft) if plan.gamma and plan.draft is None else plan

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Ask the policy that planned this round."""
        return self._planned is None or keeps(self._planned, signals)

    def observe(self, done: Round) -> None:
        """Show a round to the policy of its draft; one without a draft to the policy that planned last, if one did."""
        draft = done.plan.draft
        policy = self._planned if draft is None else self.of(draft)
        if policy is not None:
            policy.observe(done)

    def rest(self) -> None:
        """Forget who planned: this round is planned by nobody here."""
        self._planned = None

    def of(self, draft: str) -> Policy:
        """Return the policy of a draft."""
        if draft not in self._policies:
            self._policies[draft] = build_policy(self._config, seed_of(self._seed, draft))
        return self._policies[draft]

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each draft's policy, by draft."""
        return {draft: state_of(policy) for draft, policy in self._policies.items()}

    def load_state_dict(self, state: object) -> None:
        """Take over the state of each draft's policy.

        Raises:
            ValueError: A state is damaged or of another policy; nothing is changed.
        """
        if not isinstance(state, dict) or not all(isinstance(one, dict) for one in state.values()):
            raise ValueError("the saved state is damaged: lengths is not a mapping of drafts to states")
        fresh = {draft: build_policy(self._config, seed_of(self._seed, draft)) for draft in state}
        states: list[Mapping[str, Any]] = list(state.values())
        load_all(list(fresh.values()), states)
        self._policies, self._planned = fresh, None
