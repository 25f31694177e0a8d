"""What policies that choose the draft have in common: a length policy for each, and which drafts are in the choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from paceline.core.guards.policy import needs_of, requires_of
from paceline.policies.nested import joint_requirements
from paceline.policies.per_draft_policies import PerDraftPolicies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.config.blocks import PolicyConfig
    from paceline.core.records import RoundStart, TokenSignals


class Selector:
    """Holds the length policies; subclasses choose whom to ask, observe, and keep their state.

    Args:
        length: Options of the length policy, the same for all drafts.
        seed: Each draft's length policy gets its own, which follows from this and its name.
        chooses: How often the selector chooses, where the engine lets it.
        demands: What the selector itself cannot do without, as in `Requirements`.
    """

    def __init__(
        self, length: PolicyConfig, seed: int, *, chooses: Literal["request", "round"], **demands: Any
    ) -> None:
        self._lengths = PerDraftPolicies(length, seed)
        example = self._lengths.example
        self.needs = needs_of(example)
        # A length policy that stops by signals needs them of every draft it may be asked about.
        switch = chooses if requires_of(example).signals else "none"
        self.requires = joint_requirements([example], draft_switch=switch, **demands)

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Ask the length policy that planned this round."""
        return self._lengths.keep_drafting(signals)


def choosable(start: RoundStart, current: str | None) -> Sequence[str]:
    """Return the drafts that may be planned now, in the order listed; empty only when there is none.

    An engine that never switches runs the first one listed; one that switches between requests keeps to `current`.
    """
    switch = start.capabilities.draft_switch
    if switch == "request" and start.index and current is not None and current in start.drafts:
        return (current,)
    drafts = tuple(start.drafts)
    return drafts[:1] if switch == "none" else drafts


def proposing(start: RoundStart, drafts: Sequence[str]) -> Sequence[str]:
    """Return those of `drafts` that do not say they have nothing to propose, or all of them when all say so."""
    return [draft for draft in drafts if start.drafts[draft].match_length != 0] or drafts
