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

from dataclasses import replace
from math import inf, log, sqrt
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, FiniteFloat

from paceline.core.config.blocks import PolicyConfig
from paceline.core.config.resolve import AnyPolicy
from paceline.core.records import Plan
from paceline.policies.composition import Selector, choosable, proposing
from paceline.policies.state import check_count, check_header, check_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.records import Round, RoundStart

VERSION = 1
KINDS = ("rounds", "rewards", "tokens", "seconds")
NO_ROOM = "no-room"
"""Reason for drafting nothing where neither engine nor budget leave anything to draft."""


class MetaSDConfig(PolicyConfig):
    """Try drafts and keep to the one whose blocks are accepted furthest; another policy plans gamma."""

    name: Literal["metasd"] = "metasd"
    length: AnyPolicy = Field(
        default="online", validate_default=True, description="Policy that plans gamma, one for each draft."
    )
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


class MetaSDPolicy(Selector):
    """Keeps four fading sums for each draft: rounds, rewards, tokens, seconds."""

    def __init__(self, config: MetaSDConfig, seed: int = 0) -> None:
        latency = "fused" if config.reward == "speed" else "none"
        super().__init__(config.length, seed, chooses="round", latency=latency)
        self._config = config
        self._sums: dict[str, list[float]] = {}
        self._draft: str | None = None

    def plan(self, start: RoundStart) -> Plan:
        """Choose the draft of the highest bound; its length policy plans the round."""
        drafts = proposing(start, choosable(start, self._draft))
        self._draft = self._best(drafts)
        if self._draft is None:
            self._lengths.rest()
            return Plan(0)
        plan = self._lengths.plan(start, self._draft)
        return plan if start.gammas(start.budget)[-1] > 0 else replace(plan, reason=NO_ROOM)

    def observe(self, done: Round) -> None:
        """Reward the draft that was chosen; rounds that were ended, or were too short to draft, tell nothing."""
        self._lengths.observe(done)
        draft = done.plan.draft or self._draft
        if draft is None or done.ended is not None or done.plan.reason == NO_ROOM:
            return
        for sums in self._sums.values():
            sums[:] = [one * self._config.discount for one in sums]
        sums = self._sums.setdefault(draft, [0.0] * len(KINDS))
        reward = done.accepted / done.plan.gamma if done.plan.gamma else 0.0
        for place, amount in enumerate((1.0, reward, done.emitted, done.total_s)):
            sums[place] += amount

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of each draft and the states of the length policies."""
        return {
            "policy": "metasd",
            "version": VERSION,
            "sums": {draft: list(sums) for draft, sums in self._sums.items()},
            "draft": self._draft or "",
            "lengths": self._lengths.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over sums.

        Raises:
            ValueError: The state is damaged, or of another policy or version; nothing is changed.
        """
        check_header(state, "metasd", VERSION)
        saved, draft = state.get("sums"), state.get("draft")
        if not isinstance(saved, dict) or not isinstance(draft, str):
            raise ValueError("the saved state is damaged: sums is not a mapping, or draft is no text")  # noqa: TRY004 - callers are promised ValueError
        sums = {
            str(name): [
                float(check_count(one, f"a sum of draft {name!r}"))
                for one in check_list(numbers, f"the sums of draft {name!r}", length=len(KINDS))
            ]
            for name, numbers in saved.items()
        }
        self._lengths.load_state_dict(state.get("lengths"))
        self._sums, self._draft = sums, draft or None

    def export(self) -> dict[str, float]:
        """Return the fading sums that are not 0, under keys "draft/kind"."""
        return {
            f"{draft}/{kind}": one
            for draft, sums in self._sums.items()
            for kind, one in zip(KINDS, sums, strict=True)
            if one
        }

    def absorb(self, statistics: Mapping[str, float]) -> None:
        """Add the sums of another instance.

        Raises:
            ValueError: A key or a number is not one that `export` writes; nothing is changed.
        """
        entries = []
        for key, amount in statistics.items():
            draft, _, kind = key.rpartition("/")
            if not draft or kind not in KINDS:
                raise ValueError(f"{key!r} is no statistic of this policy; keys look like 'draft/rewards'")
            entries.append((draft, KINDS.index(kind), check_count(amount, key)))
        for draft, place, amount in entries:
            self._sums.setdefault(draft, [0.0] * len(KINDS))[place] += amount

    def _best(self, drafts: Sequence[str]) -> str | None:
        """Return the draft of the highest bound, the first one among equals."""
        if len(drafts) < 2:
            return next(iter(drafts), None)
        every = {draft: self._sums.get(draft, (0.0,) * len(KINDS)) for draft in drafts}
        means = {draft: self._mean(sums) for draft, sums in every.items()}
        if self._config.reward == "speed" and (fastest := max(means.values())) > 0.0:
            means = {draft: mean / fastest for draft, mean in means.items()}
        spread = self._config.beta * sqrt(2.0 * log(max(sum(sums[0] for sums in every.values()), 1.0)))
        best, highest = drafts[0], -inf
        for draft, sums in every.items():
            if sums[0] <= 0.0:
                return draft
            bound = means[draft] + spread / sqrt(sums[0])
            if bound > highest:
                best, highest = draft, bound
        return best

    def _mean(self, sums: Sequence[float]) -> float:
        """Return what a round or, with `speed`, a second of a draft brought."""
        rounds, rewards, tokens, seconds = sums
        gained, spent = (tokens, seconds) if self._config.reward == "speed" else (rewards, rounds)
        return gained / spent if spent > 0.0 else 0.0
