"""Policies that hold policies: their views and joint needs, one policy for each draft, and the choice of a draft."""

from __future__ import annotations

from dataclasses import fields, replace
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from paceline.core.base_policy import BasePolicy, load_together
from paceline.core.guards.policy import ask_keep_drafting, needs_of, requires_of, state_of
from paceline.core.plugins.catalogue import build_policy
from paceline.core.records import Requirements
from paceline.core.state.declared import S

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from paceline.core.config.blocks import PolicyConfig
    from paceline.core.protocols import Policy
    from paceline.core.records import Plan, Round, RoundStart, Signal, TokenSignals

LATENCY_ORDER = ("none", "fused", "split")
SWITCH_ORDER = ("none", "request", "round")


def with_one_draft(start: RoundStart, draft: str) -> RoundStart:
    """Return what a policy sees that has one draft to choose from."""
    if len(start.drafts) == 1 and draft in start.drafts:
        return start
    return replace(start, drafts={draft: start.drafts[draft]})


def joint_needs(policies: Iterable[Policy]) -> frozenset[Signal]:
    """Return every signal that one of them wants."""
    return frozenset[Any]().union(*map(needs_of, policies))


def joint_requirements(policies: Iterable[Policy], **own: Any) -> Requirements:
    """Return what an engine must be able to do for all of them; `own` are demands of the policy that holds them."""
    demands = [Requirements(**own), *map(requires_of, policies)]
    others: dict[str, Any] = {
        field.name: any(getattr(each, field.name) for each in demands)
        for field in fields(Requirements)
        if field.name not in {"draft_switch", "latency", "signals", "draft"}
    }
    listened = {each.draft for each in demands if each.signals}
    return Requirements(
        draft_switch=max((each.draft_switch for each in demands), key=SWITCH_ORDER.index),
        latency=max((each.latency for each in demands), key=LATENCY_ORDER.index),
        signals=frozenset[Any]().union(*(each.signals for each in demands)),
        draft=listened.pop() if len(listened) == 1 else None,
        **others,
    )


def seed_of(seed: int, name: str) -> int:
    """Return the seed of the part of this name, the same in every process."""
    return Random(f"{seed}/{name}").getrandbits(32)


def tag_plan(plan: Plan, word: str) -> Plan:
    """Return a plan whose reason begins with a word, by which its rounds are known again whenever they are over."""
    return replace(plan, reason=f"{word}/{plan.reason}" if plan.reason else word)


def untag_round(done: Round, words: Collection[str]) -> tuple[str | None, Round]:
    """Return the word of these that a round's plan was marked with, if one, and the round under the unmarked plan."""
    word, _, reason = (done.plan.reason or "").partition("/")
    if word not in words:
        return None, done
    return word, replace(done, plan=replace(done.plan, reason=reason or None))


class WrapperPolicy(BasePolicy[S]):
    """Holds one policy, and hands on what that wants of engine and drafts.

    Args:
        name: The wrapper's name.
        state: What it knows at first.
        inner: The policy, held by this wrapper alone.
        demands: What the wrapper itself cannot do without, as in `Requirements`.
    """

    def __init__(self, name: str, state: S, inner: Policy, **demands: Any) -> None:
        super().__init__(name, state)
        self.inner = inner
        self.requires = joint_requirements((inner,), **demands)

    @property
    def needs(self) -> frozenset[Signal]:  # type: ignore[override]
        """The signals that the inner policy wants."""
        return needs_of(self.inner)

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Ask the inner policy, which planned this round if anything was drafted."""
        return ask_keep_drafting(self.inner, signals)

    def held(self) -> Mapping[str, Policy]:
        """Return the inner policy."""
        return {"inner": self.inner}


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
        plan = self._planned.plan(with_one_draft(start, draft))
        return replace(plan, draft=draft) if plan.gamma and plan.draft is None else plan

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Ask the policy that planned this round."""
        return self._planned is None or ask_keep_drafting(self._planned, signals)

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
        if not isinstance(state, dict):
            raise ValueError("the saved state is damaged: lengths is not a mapping of drafts to states")  # noqa: TRY004 - callers are promised ValueError
        fresh = {draft: build_policy(self._config, seed_of(self._seed, draft)) for draft in state}
        load_together(fresh, state)
        self._policies, self._planned = fresh, None


class DraftSelector(BasePolicy[S]):
    """Holds a length policy for each draft; subclasses choose the draft and observe.

    Args:
        name: The selector's name.
        state: What it knows at first.
        length: Options of the length policy, the same for all drafts.
        seed: Each draft's length policy gets its own, which follows from this and its name.
        chooses: How often the selector chooses, where the engine lets it.
        demands: What the selector itself cannot do without, as in `Requirements`.
    """

    def __init__(
        self,
        name: str,
        state: S,
        length: PolicyConfig,
        seed: int,
        *,
        chooses: Literal["request", "round"],
        **demands: Any,
    ) -> None:
        super().__init__(name, state)
        self._lengths = PerDraftPolicies(length, seed)
        example = self._lengths.example
        self.needs = needs_of(example)
        # A length policy that stops by signals needs them of every draft it may be asked about.
        switch = chooses if requires_of(example).signals else "none"
        self.requires = joint_requirements([example], draft_switch=switch, **demands)

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Ask the length policy that planned this round."""
        return self._lengths.keep_drafting(signals)

    def held(self) -> Mapping[str, Any]:
        """Return the length policies."""
        return {"lengths": self._lengths}


def available_drafts(start: RoundStart, current: str | None) -> Sequence[str]:
    """Return the drafts that may be planned now, in the order listed; empty only when there is none.

    An engine that never switches runs the first one listed; one that switches between requests keeps to `current`.
    """
    switch = start.capabilities.draft_switch
    if switch == "request" and start.index and current is not None and current in start.drafts:
        return (current,)
    drafts = tuple(start.drafts)
    return drafts[:1] if switch == "none" else drafts


def drafts_with_proposals(start: RoundStart, drafts: Sequence[str]) -> Sequence[str]:
    """Return those of `drafts` that do not say they have nothing to propose, or all of them when all say so."""
    return [draft for draft in drafts if start.drafts[draft].match_length != 0] or drafts
