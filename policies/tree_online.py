"""Analytical depth: the accuracy of a level of the tree estimated online, and the depth of most tokens per second.

Section 6.4 of the paper that `online` follows (https://aclanthology.org/2025.acl-long.482) applies its section 4.1 to
EAGLE-2 by choosing the depth of the draft tree, and reports 4.2 % over EAGLE-2. From the paper: that the window size of
section 4.1 becomes the depth of the tree, decided once before each round. Our reading, since its text does not spell it
out: Eq 2 counts levels, V the tokens accepted along the path and a refusal where all tokens of the next level were
wrong; Eq 1 then chooses the depth with Acc the accuracy of a level, a the seconds of drafting one, and b, which no
longer grows with gamma, that of verifying a block of all nodes. Number of nodes and width are options, as in EAGLE-2.
Ours: everything that is ours in `online`, and that a target which verifies no trees gets the chain of `online`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from paceline.core.records import Plan
from paceline.policies.gamma_scan import catch_up_share_s
from paceline.policies.online import OnlineConfig, OnlinePolicy, best_gamma
from paceline.policies.options import Width
from paceline.policies.tree_choice import tree_prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.records import RoundStart


class TreeOnlineConfig(OnlineConfig):
    """Estimate how often a level of a tree holds the right token, and plan the depth of most tokens per second."""

    name: Literal["tree-online"] = "tree-online"  # type: ignore[assignment]  # a name of its own
    nodes: int = Field(default=16, ge=1, description="Draft tokens of the tree.")
    width: Width = 4

    def build(self, seed: int = 0) -> TreeOnlinePolicy:
        """Return a fresh policy."""
        return TreeOnlinePolicy(self)


class TreeOnlinePolicy(OnlinePolicy):
    """Eq 2 over levels, then Eq 1 over depths, once before each round."""

    def __init__(self, config: TreeOnlineConfig) -> None:
        super().__init__(config)
        self.name = config.name
        self._nodes, self._width = config.nodes, config.width

    def plan(self, start: RoundStart) -> Plan:
        """Choose the depth of most tokens per second; without trees, the gamma."""
        plan = super().plan(start)
        nodes = min(self._nodes, start.capabilities.nodes)
        if not nodes or not plan.gamma:
            return plan
        return Plan(min(plan.gamma, nodes), plan.draft, reason=plan.reason, nodes=nodes, width=self._width)

    def best(self, start: RoundStart, draft: str, gammas: Sequence[int], accuracy: float) -> int:
        """Return the argmax of Eq 1 over depths; without trees, over gammas."""
        nodes = min(self._nodes, start.capabilities.nodes)
        if not nodes:
            return best_gamma(start, draft, gammas, accuracy)
        draft_s, verify_s = tree_prices(start.costs)
        share_s, pass_s = catch_up_share_s(start, draft), verify_s(nodes, start.context)
        best, best_s = 0, start.costs.verify_s(1, start.context) if gammas[0] == 0 else float("inf")
        for depth in gammas:
            if 0 < depth <= nodes:
                tokens = (1.0 - accuracy ** (depth + 1)) / (1.0 - accuracy)
                token_s = (draft_s(draft, depth) + pass_s) / tokens + share_s
                if token_s < best_s:
                    best, best_s = depth, token_s
        return best
