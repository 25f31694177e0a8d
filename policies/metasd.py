"""Upper confidence bounds over drafts: run the one whose reward could still be the highest.

The method is MetaSD-UCB ("Multi-Drafter Speculative Decoding with Alignment Feedback",
https://arxiv.org/abs/2604.05417). With n_i rounds given to draft i, mean reward mu_i and t rounds in all, the draft
of the next round is

    argmax over i of mu_i + beta sqrt(2 ln t / n_i)

after each was tried once. The paper's reward is 1 minus the mean distance in total variation between target and
draft over the block; that needs the target's distributions, which policies do not see. So the reward is the block
efficiency, its other reading: accepted / gamma, the part of the block that was accepted.

Ours: rewards fade (discounted UCB, Garivier and Moulines 2008, https://arxiv.org/abs/0805.3415), so that drafts can
swap roles; beta, the reward `speed`, and the following. A draft with nothing to propose earned 0, and so did one
whose length policy preferred to decode plainly: both are facts about the draft, and if they did not count, a draft
that is of no use would never be left. A round that was ended is censored and counts neither way. A draft that
says it has nothing to propose is passed over for the round. With `speed` the reward is the draft's tokens per
second, as a ratio of sums, divided by that of the fastest draft: accepted / gamma cannot see that one draft costs ten
times what another one does.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from math import inf, log, sqrt
from typing import TYPE_CHECKING, Literal

from pydantic import Field, FiniteFloat

from paceline.core.base_policy import MergeablePolicy
from paceline.core.config.blocks import PolicyConfig
from paceline.core.records import Plan
from paceline.core.state.declared import Amount, PolicyState, Summed
from paceline.policies.composition import DraftSelector, available_drafts, drafts_with_proposals
from paceline.policies.options import LengthPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.records import Round, RoundStart

NO_ROOM = "no-room"
"""Reason for drafting nothing where neither engine nor budget leave anything to draft."""


class MetaSDConfig(PolicyConfig):
    """Try drafts and keep to the one whose blocks are accepted furthest; another policy plans gamma."""

    name: Literal["metasd"] = "metasd"
    length: LengthPolicy = Field(default="online", validate_default=True)
    reward: Literal["acceptance", "speed"] = Field(
        default="acceptance", description="accepted / gamma as in the paper, or tokens per second."
    )
    beta: FiniteFloat = Field(
        default=0.2,
        ge=0,
        description="Weight of what is uncertain; 1 is the theory's, and explores a great deal.",
    )
    discount: float = Field(
        default=0.99,
        gt=0,
        le=1,
        description="Weight of what is known, for each round of age; 1 is the paper's.",
    )

    def build(self, seed: int = 0) -> MetaSDPolicy:
        """Return a fresh policy."""
        return MetaSDPolicy(self, seed)


@dataclass(slots=True)
class DraftReward(PolicyState):
    """Fading sums over the rounds of one draft."""

    rounds: Summed[Amount] = 0.0
    rewards: Summed[Amount] = 0.0
    tokens: Summed[Amount] = 0.0
    seconds: Summed[Amount] = 0.0


@dataclass(slots=True)
class MetaSDState(PolicyState):
    """Rewards of each draft, and the draft that runs."""

    drafts: Summed[defaultdict[str, DraftReward]]
    draft: str | None = None


class MetaSDPolicy(DraftSelector[MetaSDState], MergeablePolicy[MetaSDState]):
    """Keeps four fading sums for each draft: rounds, rewards, tokens, seconds."""

    version = 2

    def __init__(self, config: MetaSDConfig, seed: int = 0) -> None:
        latency = "fused" if config.reward == "speed" else "none"
        state = MetaSDState(defaultdict(DraftReward))
        super().__init__("metasd", state, config.length, seed, chooses="round", latency=latency)
        self._config = config

    def plan(self, start: RoundStart) -> Plan:
        """Choose the draft of the highest bound; its length policy plans the round."""
        drafts = drafts_with_proposals(start, available_drafts(start, self.state.draft))
        self.state.draft = self._best(drafts)
        if self.state.draft is None:
            self._lengths.rest()
            return Plan(0)
        plan = self._lengths.plan(start, self.state.draft)
        return plan if start.gammas(start.budget)[-1] > 0 else replace(plan, reason=NO_ROOM)

    def observe(self, done: Round) -> None:
        """Reward the draft that was chosen; rounds that were ended, or were too short to draft, tell nothing."""
        self._lengths.observe(done)
        draft = done.plan.draft or self.state.draft
        if draft is None or done.ended is not None or done.plan.reason == NO_ROOM:
            return
        for known in self.state.drafts.values():
            known.rounds *= self._config.discount
            known.rewards *= self._config.discount
            known.tokens *= self._config.discount
            known.seconds *= self._config.discount
        sums = self.state.drafts[draft]
        sums.rounds += 1.0
        sums.rewards += done.accepted / done.plan.gamma if done.plan.gamma else 0.0
        sums.tokens += done.emitted
        sums.seconds += done.total_s

    def _best(self, drafts: Sequence[str]) -> str | None:
        """Return the draft of the highest bound, the first one among equals."""
        if len(drafts) < 2:
            return next(iter(drafts), None)
        every = {draft: self.state.drafts[draft] for draft in drafts}
        means = {draft: self._mean(sums) for draft, sums in every.items()}
        if self._config.reward == "speed" and (fastest := max(means.values())) > 0.0:
            means = {draft: mean / fastest for draft, mean in means.items()}
        spread = self._config.beta * sqrt(2.0 * log(max(sum(sums.rounds for sums in every.values()), 1.0)))
        best, highest = drafts[0], -inf
        for draft, sums in every.items():
            if sums.rounds <= 0.0:
                return draft
            bound = means[draft] + spread / sqrt(sums.rounds)
            if bound > highest:
                best, highest = draft, bound
        return best

    def _mean(self, sums: DraftReward) -> float:
        """Return what a round or, with `speed`, a second of a draft brought."""
        speed = self._config.reward == "speed"
        gained, spent = (sums.tokens, sums.seconds) if speed else (sums.rewards, sums.rounds)
        return gained / spent if spent > 0.0 else 0.0
