"""Posterior sampling of acceptance, position by position and draft by draft, against measured costs.

For each draft and each position k of a proposal the policy counts y_k acceptances and f_k refusals, both
discounted every round so that old text fades. A refusal at k says nothing of later positions, and neither does
the end of a proposal that was accepted as a whole or cut short: those are censored. Before a round it draws

    h_k ~ Beta(y_k + s m, f_k + s (1 - m)),     m = (sum y + p) / (sum y + sum f + p + q),

the chance that position k is accepted once it is reached, drawn towards the mean m of the draft with the weight
of s observations. Then S_k = h_1 ... h_k, a round of gamma tokens yields E = 1 + S_1 + ... + S_gamma tokens in
T = draft + verify seconds, and the plan is the draft and gamma of most E / T; gamma 0 yields 1 token.

Drawing from the posterior explores in proportion to what is still uncertain (Thompson 1933; discounting after
Raj and Kalyani 2017, https://arxiv.org/abs/1707.09727). The count of hazards is that of a discrete-time survival
curve (Kaplan and Meier 1958). Neither is from the ACL 2025 paper that the `online` policy follows.
"""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, FiniteFloat

from paceline.core.config.blocks import PolicyConfig
from paceline.core.records import Plan, Requirements
from paceline.policies.acceptance import Hazards, draw_beta, export_hazards, read_export, read_hazards
from paceline.policies.gamma_scan import LARGEST, best_gamma, chosen_draft, drafting
from paceline.policies.no_signal_policy import NoSignalPolicy
from paceline.policies.state import check_header, read_random, save_random

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from paceline.core.records import Round, RoundStart

VERSION = 1


class ThompsonConfig(PolicyConfig):
    """Sample how far each draft may be trusted, and plan the draft and gamma of most tokens per second."""

    name: Literal["thompson"] = "thompson"
    max_gamma: int = Field(default=16, ge=1, le=LARGEST, description="The largest gamma considered.")
    discount: float = Field(
        default=0.98, gt=0, le=1, description="Weight of what is known, for each round of age."
    )
    prior: tuple[Annotated[FiniteFloat, Field(gt=0)], Annotated[FiniteFloat, Field(gt=0)]] = Field(
        default=(2.0, 1.0),
        description="Accepted and refused tokens assumed of a draft nothing is known about.",
    )
    pooling: FiniteFloat = Field(
        default=4.0, gt=0, description="Observations that the mean of a draft is worth at each position."
    )
    draft: str | None = Field(
        default=None, description="Name of the only draft to use; all of them if left out."
    )

    def build(self, seed: int = 0) -> ThompsonPolicy:
        """Return a fresh policy whose draws follow from `seed`."""
        return ThompsonPolicy(self, seed)


class ThompsonPolicy(NoSignalPolicy):
    """Draws hazards, then plans as if they were true."""

    requires = Requirements(latency="fused")
    timed = False

    def __init__(self, config: ThompsonConfig, seed: int = 0) -> None:
        self._config = config
        self._random = Random(seed)
        self._known: dict[str, Hazards] = {}

    def plan(self, start: RoundStart) -> Plan:
        """Choose the draft and gamma of most tokens per second under one draw from the posterior."""
        gammas = start.gammas(self._config.max_gamma)
        if gammas[-1] == 0:
            return Plan(0)
        best = Plan(0)
        best_s = start.costs.verify_s(1, start.context) if gammas[0] == 0 else math.inf
        for draft in self._drafts(start):
            gamma, token_s = best_gamma(start, draft, drafting(gammas), self._drawn(draft), best_s)
            if gamma:
                best, best_s = Plan(gamma, draft), token_s
        return best

    def observe(self, done: Round) -> None:
        """Age what is known of every draft, then count the verdict; a round without evidence changes nothing.

        A round of gamma 0 ages too: what is not tried becomes uncertain, and is drawn high, and tried, in time.
        """
        told = done.accepted > 0 or done.rejected
        if not told and done.plan.gamma > 0:
            return
        for hazards in self._known.values():
            hazards.age(self._config.discount)
        if told and done.plan.draft is not None:
            self._hazards(done.plan.draft).count(done.accepted, refused=done.rejected)

    def state_dict(self) -> dict[str, Any]:
        """Return the counts of every draft and the state of the generator."""
        known = {draft: [list(h.accepted), list(h.refused)] for draft, h in self._known.items()}
        return {
            "policy": "thompson",
            "version": VERSION,
            "known": known,
            "random": save_random(self._random),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over counts and generator, and go on exactly where the state was taken.

        Raises:
            ValueError: The state is damaged, of another policy or version, or of another `max_gamma`; nothing is
                changed.
        """
        check_header(state, "thompson", VERSION)
        known = read_hazards(state.get("known"), self._config.max_gamma)
        self._known, self._random = known, read_random(state.get("random"))

    def export(self) -> dict[str, float]:
        """Return the discounted counts, one number for each draft, position and verdict."""
        return export_hazards(self._known)

    def absorb(self, statistics: Mapping[str, float]) -> None:
        """Add the counts of another instance; positions beyond `max_gamma` are left out.

        Raises:
            ValueError: A key or a number is not one that `export` writes; nothing is changed.
        """
        for draft, position, refused, amount in read_export(statistics):
            if position < self._config.max_gamma:
                self._hazards(draft).add(position, amount, refused=refused)

    def replace(self, statistics: Mapping[str, float]) -> None:
        """Put the counts of a group in the place of this policy's own.

        Raises:
            ValueError: As `absorb`; nothing is changed.
        """
        before, self._known = self._known, {}
        try:
            self.absorb(statistics)
        except ValueError:
            self._known = before
            raise

    def _drafts(self, start: RoundStart) -> Iterable[str]:
        """Return the drafts to choose from: all, unless one is named or the engine does not switch each round."""
        if self._config.draft is None and start.capabilities.draft_switch == "round":
            return start.drafts
        draft = chosen_draft(start, self._config.draft)
        return () if draft is None else (draft,)

    def _hazards(self, draft: str) -> Hazards:
        """Return what is known of a draft."""
        if draft not in self._known:
            self._known[draft] = Hazards(self._config.max_gamma)
        return self._known[draft]

    def _drawn(self, draft: str) -> Iterator[float]:
        """Yield one draw of the chance of each position."""
        for right, wrong in self._hazards(draft).posterior(self._config.prior, self._config.pooling):
            yield draw_beta(self._random, right, wrong)
