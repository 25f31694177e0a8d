"""Posterior sampling of acceptance, position by position and draft by draft, against measured costs.

For each draft and each position k of a proposal the policy counts y_k acceptances and f_k refusals, both
discounted every round so that old text fades. A refusal at k says nothing of later positions, and neither does
the end of a proposal that was accepted as a whole or cut short: those are censored. Before a round it draws

    h_k ~ Beta(y_k + s m, f_k + s (1 - m)),     m = (sum y + p) / (sum y + sum f + p + q),

the probability that position k is accepted once it is reached, drawn towards the mean m of the draft with the weight
of s observations. Then S_k = h_1 ... h_k, a round of gamma tokens yields E = 1 + S_1 + ... + S_gamma tokens in
T = draft + verify seconds, and the plan is the draft and gamma of most E / T; gamma 0 yields 1 token.

Drawing from the posterior explores in proportion to what is still uncertain (Thompson 1933; discounting after
Raj and Kalyani 2017, https://arxiv.org/abs/1707.09727). The count of hazards is that of a discrete-time survival
curve (Kaplan and Meier 1958). Neither is from the ACL 2025 paper that the `online` policy follows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Literal

from pydantic import Field, FiniteFloat

from paceline.core.base_policy import MergeablePolicy
from paceline.core.config.blocks import PolicyConfig
from paceline.core.records import Plan, Requirements
from paceline.core.state.declared import PolicyState, Summed
from paceline.policies.acceptance import Hazards, draw_beta
from paceline.policies.gamma_scan import best_gamma, positive_gammas
from paceline.policies.options import MaxGamma, OnlyDraft, Prior, chosen_draft

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from paceline.core.records import Round, RoundStart


class ThompsonConfig(PolicyConfig):
    """Sample how far each draft may be trusted, and plan the draft and gamma of most tokens per second."""

    name: Literal["thompson"] = "thompson"
    max_gamma: MaxGamma = 16
    discount: float = Field(
        default=0.98, gt=0, le=1, description="Weight of what is known, for each round of age."
    )
    prior: Prior = (2.0, 1.0)
    pooling: FiniteFloat = Field(
        default=4.0, gt=0, description="Observations that the mean of a draft is worth at each position."
    )
    draft: OnlyDraft = None

    def build(self, seed: int = 0) -> ThompsonPolicy:
        """Return a fresh policy whose draws follow from `seed`."""
        return ThompsonPolicy(self, seed)


@dataclass(slots=True)
class ThompsonState(PolicyState):
    """Counts of each draft, and what draws from their posteriors."""

    known: Summed[defaultdict[str, Hazards]]
    random: Random


class ThompsonPolicy(MergeablePolicy[ThompsonState]):
    """Draws hazards, then plans as if they were true."""

    requires = Requirements(latency="fused")
    timed = False
    version = 2

    def __init__(self, config: ThompsonConfig, seed: int = 0) -> None:
        fresh = partial(Hazards, config.max_gamma)
        super().__init__("thompson", ThompsonState(defaultdict(fresh), Random(seed)))
        self._config = config

    def plan(self, start: RoundStart) -> Plan:
        """Choose the draft and gamma of most tokens per second under one draw from the posterior."""
        gammas = start.gammas(self._config.max_gamma)
        if gammas[-1] == 0:
            return Plan(0)
        best = Plan(0)
        best_s = start.costs.verify_s(1, start.context) if gammas[0] == 0 else math.inf
        for draft in self._drafts(start):
            gamma, token_s = best_gamma(start, draft, positive_gammas(gammas), self._sample(draft), best_s)
            if gamma:
                best, best_s = Plan(gamma, draft), token_s
        return best

    def observe(self, done: Round) -> None:
        """Age what is known of every draft, then count the verdict; a round without evidence changes nothing.

        A round of gamma 0 ages too: what is not tried becomes uncertain, and is drawn high, and tried, in time.
        """
        informative = done.accepted > 0 or done.rejected
        if not informative and done.plan.gamma > 0:
            return
        for hazards in self.state.known.values():
            hazards.age(self._config.discount)
        if informative and done.plan.draft is not None:
            self.state.known[done.plan.draft].count(done.accepted, refused=done.rejected)

    def _drafts(self, start: RoundStart) -> Iterable[str]:
        """Return the drafts to choose from: all, unless one is named or the engine does not switch each round."""
        if self._config.draft is None and start.capabilities.draft_switch == "round":
            return start.drafts
        draft = chosen_draft(start, self._config.draft)
        return () if draft is None else (draft,)

    def _sample(self, draft: str) -> Iterator[float]:
        """Yield one draw of the probability of each position."""
        for right, wrong in self.state.known[draft].posterior(self._config.prior, self._config.pooling):
            yield draw_beta(self.state.random, right, wrong)
