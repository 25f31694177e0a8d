"""One declared threshold ends drafting: what policies share that stop by what the draft says of each token.

They plan as many tokens as options, engine and budget allow, and the rule in the plan ends the round earlier. The
token that triggers it was drawn from the draft's distribution, so it stays in the proposal and is verified:
dropping a token for its own probability would bias what is sampled. Only the next token is not drafted. An engine
may evaluate the rule where the logits are; `needs` stays empty, so that it is not asked to report after each token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from paceline.core.base_policy import BasePolicy
from paceline.core.config.blocks import PolicyConfig
from paceline.core.records import Plan, Requirements
from paceline.core.state.declared import S
from paceline.policies.options import LARGEST_GAMMA, chosen_draft

if TYPE_CHECKING:
    from paceline.core.records import RoundStart, StopRule


class ThresholdConfig(PolicyConfig):
    """The options of every policy that stops by a threshold."""

    max_gamma: int = Field(
        default=20, ge=1, le=LARGEST_GAMMA, description="Draft tokens of a round that nothing stops."
    )
    draft: str | None = Field(
        default=None,
        description="Name of the draft, which must deliver the signal; the first one listed if left out.",
    )


class ThresholdPolicy(BasePolicy[S]):
    """Plans the largest gamma, and the rule that ends the round earlier; subclasses replace `rule` as they learn."""

    def __init__(self, config: ThresholdConfig, state: S, rule: StopRule) -> None:
        super().__init__(config.name, state)
        self._max_gamma = config.max_gamma
        self._draft = config.draft
        self.rule = rule
        self.requires = Requirements(signals=frozenset({rule.signal}), draft=config.draft)

    def plan(self, start: RoundStart) -> Plan:
        """Draft until the rule says stop."""
        draft = chosen_draft(start, self._draft)
        gamma = start.gammas(self._max_gamma)[-1]
        return Plan(gamma, draft, self.rule) if gamma else Plan(0)
