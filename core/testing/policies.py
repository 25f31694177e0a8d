"""`check_policy`, which plugin authors and paceline itself run, and the laws of a policy's plans.

Each law takes a factory of fresh, equal policies and raises AssertionError with a sentence that says what is wrong.
"""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from paceline.core.config.blocks import PolicyConfig
from paceline.core.errors import CapabilityError
from paceline.core.guards.policy import check_fit, check_members, check_plan, has_member
from paceline.core.records import SIGNALS, Capabilities, Plan, RoundStart
from paceline.core.testing import policy_serving, policy_states
from paceline.core.testing.failures import blamed, require
from paceline.core.testing.policy_steps import (
    STEPS,
    Law,
    Make,
    Step,
    for_steps,
    live,
    many_steps,
    saved,
)

if TYPE_CHECKING:
    from types import FrameType

    from paceline.core.protocols import DraftSession, Policy
    from paceline.core.records import Signal

CLOCKS = frozenset({"time", "datetime"})
CHANCE = frozenset({"urandom", "getrandom"})

LOGGERS = frozenset({"logging", "structlog"})
"""Modules that may ask for the time, since it stays out of the plans."""

ENGINES = (
    Capabilities(),
    Capabilities(gammas=(1, 3, 7)),
    Capabilities(zero_gamma=False),
    Capabilities(gammas=(4, 8), zero_gamma=False),
    Capabilities(draft_switch="none"),
    Capabilities(draft_switch="request"),
    Capabilities(nodes=12),
    Capabilities(latency="none", action_delay=1),
    Capabilities(
        gammas=tuple(range(9)), draft_switch="none", latency="fused", action_delay=1, signals=frozenset()
    ),
)
"""The kinds of engine a policy is tried on, as far as its `requires` admits them."""


def lawful(make: Make, drafts: Sequence[str], engine: Capabilities) -> Law:
    """Return what demands of each plan that it be one the engine can run."""
    policy = make()
    used: set[str] = set()
    within, remedy = "between requests only", 'Requirements(draft_switch="round")'
    if engine.draft_switch == "none":
        within = "never"
        remedy = f'Requirements(draft_switch="request"), or {remedy} if it changes them between rounds'

    def law(plan: Plan, start: RoundStart) -> None:
        gamma = check_plan(policy, plan, start, dict.fromkeys(start.drafts, _AnyDraft())).gamma
        if start.index == 0 and engine.draft_switch == "request":
            used.clear()
        if engine.draft_switch != "round" and gamma > 0 and len(start.drafts) == len(drafts):
            used.add(plan.draft or next(iter(start.drafts)))
            require(
                len(used) == 1,
                f"this engine changes drafts {within}, but {' and '.join(sorted(used))} were planned: say {remedy}, "
                "so that such engines are refused, or keep to one draft where start.capabilities.draft_switch says so",
            )

    return law


def stays_lawful(make: Make, drafts: Sequence[str], engine: Capabilities, examples: int) -> None:
    """P1, and the engine's abilities: whatever happens, the plan is one the engine can run."""
    law = lawful(make, drafts, engine)
    for_steps(lambda steps: live(make(), steps, drafts, engine=engine, law=law), STEPS, examples)


def repeats_itself(make: Make, drafts: Sequence[str], examples: int) -> None:
    """P2: two equal policies that see the same plan the same, also after others have lived beside them."""

    def twins(steps: list[Step]) -> None:
        first, other, bystander = make(), make(), make()
        plans = live(first, steps, drafts)
        live(bystander, many_steps(20, seed=1), drafts)
        others = live(other, steps, drafts)
        require(
            others == plans,
            "two policies of the same configuration and seed planned differently on the same inputs: one reads a "
            "clock, an unseeded generator, or state shared between instances"
            + next(
                (f"; {mine} and {own}" for mine, own in zip(plans, others, strict=False) if mine != own), ""
            ),
        )

    for_steps(twins, STEPS, examples)


def tells_cut_from_refused(make: Make, drafts: Sequence[str]) -> None:
    """A round that was ended is censored: what was not accepted there was not refused.

    A policy that tells a refusal from full acceptance must also tell it from a round cut at the same place; and if
    many refusals lower what it plans, as many cut rounds must not lower it as far. (They need not lower it: what is
    refused may be the trial of a draft that is then left alone.)
    """
    refused, agreed = _after(make, drafts), _after(make, drafts, accepted=40)
    if refused[0] == agreed[0]:
        return
    lowers = refused[1] < min(agreed[1], _after(make, drafts, rounds=0)[1])
    for ended in ("eos", "stop", "length"):
        cut = _after(make, drafts, ended=ended)
        require(
            refused[0] != cut[0],
            f"a round that was ended (Round.ended, {ended!r}) taught the policy the same as a refusal: its end says "
            "nothing about the tokens after it; count refusals by Round.rejected",
        )
        require(
            cut[1] > refused[1] or not lowers,
            f"rounds that were ended ({ended!r}) lowered the planned gammas as far as refusals did (to {cut[1]} over "
            "20 rounds): of such a round, count what was accepted and nothing else",
        )


def reads_no_clock(make: Make, drafts: Sequence[str]) -> None:
    """P2: time and chance come from outside, even where what was read has not yet changed a plan."""
    policy = make()
    sources: set[str] = set()
    hidden = random.random.__self__  # type: ignore[attr-defined]  # the generator behind the functions of `random`

    def watch(frame: FrameType, event: str, called: Any) -> None:
        if event != "c_call" or str(frame.f_globals.get("__name__")).partition(".")[0] in LOGGERS:
            return
        name, home = getattr(called, "__name__", ""), getattr(called, "__self__", None)
        caller: FrameType | None = frame
        while caller is not None and str(caller.f_globals.get("__name__")) in sys.stdlib_module_names:
            caller = caller.f_back
        place = "" if caller is None else f" [{caller.f_code.co_filename}:{caller.f_lineno}]"
        module = getattr(home, "__name__", None) or getattr(home, "__module__", None)
        if home is hidden:
            sources.add(f"the shared generator of `random` ({name}){place}")
        elif module in CLOCKS and name not in {"fromtimestamp", "fromisoformat", "strptime"}:
            sources.add(f"a clock ({module}.{name}){place}")
        elif name in CHANCE:
            sources.add(f"the system's chance ({name}){place}")

    steps = many_steps(60, seed=8)
    before, collecting = sys.getprofile(), gc.isenabled()
    gc.disable()  # others may time the collector, hypothesis does, and it can run at any moment
    sys.setprofile(watch)
    try:
        live(policy, steps, drafts)
    finally:
        sys.setprofile(before)
        if collecting:
            gc.enable()
    require(
        not sources,
        f"the policy reads {' and '.join(sorted(sources))}: draw from a generator made of the seed of build(), and "
        "take times from the rounds",
    )


def _after(make: Make, drafts: Sequence[str], *, rounds: int = 40, **how: Any) -> tuple[str, int]:
    """Return the state of a trained policy after one such round, and the sum of its next 20 plans after `rounds`."""
    step = replace(Step(budget=40, context=60, lag=0, offered=40, accepted=0), **how)
    once, often = make(), make()
    for policy, count in ((once, 1), (often, rounds)):
        live(policy, many_steps(45, seed=7, accuracy=0.8), drafts)
        live(policy, [step] * count, drafts)
    plans = live(often, [replace(step, abandoned=True)] * 20, drafts)
    return saved(once), sum(plan.gamma for plan in plans)


def check_policy(
    policy: PolicyConfig | type[PolicyConfig] | Callable[[], Policy],
    *,
    drafts: Sequence[str] = ("draft",),
    examples: int = 50,
) -> None:
    """Check that a policy keeps the contract of a round.

    Checked are: the declarations; 0 <= gamma <= budget and known drafts on every kind of engine the policy admits,
    also when requests are abandoned half-way, drafts fail, propose less than planned or nothing, or deliver no
    signals, and when match lengths or scores are missing, or scores are of drafts that are not there; equal plans of
    equal policies, and neither a clock nor a shared generator; a configuration that survives being written and read;
    that rounds which were ended are not taken for refusals; on engines that decode batches or act with a delay, that
    plans without a round, with several and with late ones are borne, and that every round teaches about its own plan; a
    state, if there is one, that survives JSON in the middle of a run, may be asked for within a round, and is refused
    when damaged; exports that add up, if there are any; and bounded memory, without the text.
    A policy that holds others is checked together with them.

    Args:
        policy: A configuration, a configuration class with defaults for all options, or a function that returns a
            fresh policy at every call, always of the same seed.
        drafts: Names of the drafts to offer.
        examples: Random lives per property.

    Raises:
        AssertionError: The policy breaks one; the message is a sentence about it, with what to do, and its notes name
            the place and the rounds. What the policy itself raises passes through, with the same notes.
    """
    config: PolicyConfig | Callable[[], Policy]
    if isinstance(policy, type) and issubclass(policy, PolicyConfig):
        config = policy.model_validate({})
    else:
        config = cast("PolicyConfig | Callable[[], Policy]", policy)
    make = _factory(config)
    with blamed(config, "build"):
        if isinstance(config, PolicyConfig):
            _survives_writing(config)
        culprit = make()
    with blamed(culprit, "plan"):
        _check(make, drafts, examples)


def _check(make: Make, drafts: Sequence[str], examples: int) -> None:
    check_members(make())
    for engine in ENGINES:
        if _admits(make(), engine, drafts):
            stays_lawful(make, drafts, engine, examples)
    reads_no_clock(make, drafts)
    repeats_itself(make, drafts, examples)
    tells_cut_from_refused(make, drafts)
    if has_member(make(), "state_dict"):
        policy_states.survives_a_restart(make, drafts, examples)
        policy_states.can_be_saved_within_a_round(make, drafts)
        policy_states.refuses_damaged_state(make, drafts)
    policy_states.pools(make, drafts)
    for engine in policy_serving.ENGINES:
        if _admits(make(), engine, drafts):
            policy_serving.bears_batches_and_delay(
                make, drafts, engine, lawful(make, drafts, engine), examples
            )
            policy_serving.learns_from_every_round(make, drafts, engine)
            policy_serving.learns_from_the_rounds_own_plan(make, drafts, engine)
            policy_serving.keeps_no_plans(make, drafts, engine)
    policy_states.keeps_no_text(make, drafts)
    policy_states.stays_small(make, drafts)


class _AnyDraft:
    """A draft that can compute every signal and is never opened."""

    signals: frozenset[Signal] = SIGNALS

    def open(self, prompt: Sequence[int]) -> DraftSession:
        raise NotImplementedError(f"this draft only has a name; it cannot read {len(prompt)} tokens")


def _factory(policy: PolicyConfig | Callable[[], Policy]) -> Callable[[], Policy]:
    return (lambda: policy.build(seed=0)) if isinstance(policy, PolicyConfig) else policy


def _survives_writing(config: PolicyConfig) -> None:
    kind = type(config)
    read = (
        kind.model_validate(config.model_dump(mode="json")),
        kind.model_validate_json(config.model_dump_json()),
    )
    require(
        read == (config, config),
        f"the configuration {config!r}, written as JSON, reads back as {read[0]!r} and {read[1]!r}: give each option a "
        "type that survives, or a validator and a serializer",
    )
    require(config.build(0) is not config.build(0), "build() must return a fresh policy at every call")


def _admits(policy: Policy, engine: Capabilities, drafts: Sequence[str]) -> bool:
    try:
        check_fit(policy, engine, {name: _AnyDraft() for name in drafts})
    except CapabilityError:
        return False
    return True
