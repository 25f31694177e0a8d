"""What policies that hold other policies share: what those see, what they need together, and their state."""

from __future__ import annotations

from dataclasses import fields, replace
from random import Random
from typing import TYPE_CHECKING, Any

from paceline.core.guards.policy import needs_of, requires_of, state_of, take_over
from paceline.core.records import Requirements

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from paceline.core.protocols import Policy
    from paceline.core.records import Plan, Round, RoundStart, Signal

DETAIL = ("none", "fused", "split")
OFTEN = ("none", "request", "round")


def only(start: RoundStart, draft: str) -> RoundStart:
    """Return what a policy sees that has one draft to choose from."""
    if len(start.drafts) == 1 and draft in start.drafts:
        return start
    return replace(start, drafts={draft: start.drafts[draft]})


def joint_needs(policies: Iterable[Policy]) -> frozenset[Signal]:
    """Return every signal that one of them wants."""
    return frozenset[Any]().union(*map(needs_of, policies))


def joint_requirements(policies: Iterable[Policy], **own: Any) -> Requirements:
    """Return what an engine must be able to do for all of them; `own` are demands of the policy that holds them."""
    asked = [Requirements(**own), *map(requires_of, policies)]
    found: dict[str, Any] = {
        field.name: any(getattr(one, field.name) for one in asked)
        for field in fields(Requirements)
        if field.name not in {"draft_switch", "latency", "signals", "draft"}
    }
    listening = {one.draft for one in asked if one.signals}
    return Requirements(
        draft_switch=max((one.draft_switch for one in asked), key=OFTEN.index),
        latency=max((one.latency for one in asked), key=DETAIL.index),
        signals=frozenset[Any]().union(*(one.signals for one in asked)),
        draft=listening.pop() if len(listening) == 1 else None,
        **found,
    )


def seed_of(seed: int, name: str) -> int:
    """Return the seed of the part of this name, the same in every process."""
    return Random(f"{seed}/{name}").getrandbits(32)


def mark(plan: Plan, word: str) -> Plan:
    """Return a plan whose reason begins with a word, by which its rounds are known again whenever they are over."""
    return replace(plan, reason=f"{word}/{plan.reason}" if plan.reason else word)


def marked(done: Round, words: Collection[str]) -> tuple[str | None, Round]:
    """Return the word of these that a round's plan was marked with, if one, and the round under the unmarked plan."""
    word, _, reason = (done.plan.reason or "").partition("/")
    if word not in words:
        return None, done
    return word, replace(done, plan=replace(done.plan, reason=reason or None))


def load_all(policies: Sequence[Policy], states: Sequence[Mapping[str, Any]]) -> None:
    """Load a state into each policy, or into none.

    Raises:
        ValueError: One of them refuses its state; all are as they were before.
    """
    before = [state_of(policy) for policy in policies]
    for count, (policy, state) in enumerate(zip(policies, states, strict=True)):
        try:
            take_over(policy, state)
        except ValueError:
            for changed, old in zip(policies[:count], before, strict=False):
                take_over(changed, old)
            raise
