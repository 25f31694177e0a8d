"""The same gamma every round: the control arm of every comparison, and with gamma 0 plain decoding.

With `nodes` it is the same tree every round, where the target verifies trees; where it does not, the chain of gamma.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from paceline.core.base_policy import BasePolicy
from paceline.core.config.blocks import PolicyConfig
from paceline.core.records import Plan, Requirements
from paceline.core.state.declared import PolicyState
from paceline.policies.options import DraftName, Width, chosen_draft

if TYPE_CHECKING:
    from paceline.core.records import RoundStart


class StaticConfig(PolicyConfig):
    """Draft the same number of tokens every round, or the same tree."""

    name: Literal["static"] = "static"
    gamma: int = Field(default=4, ge=0, description="Draft tokens per round; 0 is plain decoding.")
    nodes: int = Field(
        default=0, ge=0, description="Draft tokens of a tree, of which gamma is the depth; 0 is a chain."
    )
    width: Width = 4
    draft: DraftName = None

    @model_validator(mode="after")
    def _can_be_a_tree(self) -> Self:
        if self.nodes and not 1 <= self.gamma <= self.nodes:
            raise ValueError(
                f"a tree has nodes >= gamma >= 1, found nodes {self.nodes} and gamma {self.gamma}"
            )
        return self

    def build(self, seed: int = 0) -> StaticPolicy:
        """Return a fresh policy."""
        return StaticPolicy(self)


class StaticPolicy(BasePolicy[PolicyState]):
    """Plans min(gamma, budget); on an engine with a fixed set, the largest gamma of it that is not above that.

    A tree loses its lowest levels where the budget does.
    """

    def __init__(self, config: StaticConfig) -> None:
        super().__init__("static", PolicyState())
        self._gamma = config.gamma
        self._draft = config.draft
        self._tree = (config.nodes, config.width) if config.nodes else None
        self.requires = Requirements(zero_gamma=config.gamma == 0)

    def plan(self, start: RoundStart) -> Plan:
        """Choose the same gamma as always."""
        gamma = start.gammas(self._gamma)[-1]
        if gamma and self._tree is not None:
            nodes, width = self._tree
            return start.fit(Plan(gamma, chosen_draft(start, self._draft), nodes=nodes, width=width))
        return Plan(gamma, chosen_draft(start, self._draft) if gamma else None)
