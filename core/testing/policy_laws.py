"""The properties every policy must have, one function each; `check_policy` runs them all.

Each takes a factory of fresh, equal policies and raises AssertionError with a sentence that says what is wrong.
"""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from paceline.core.errors import ContractError
from paceline.core.members import check_members
from paceline.core.records import Capabilities, Plan, RoundStart
from paceline.core.testing.policy_steps import STEPS, Step, live, many_steps
from paceline.core.testing.policy_trials import Law, Make, demand, for_steps, saved

if TYPE_CHECKING:
    from types import FrameType

CLOCKS = frozenset({"time", "datetime"})
CHANCE = frozenset({"urandom", "getrandom"})
LOGGERS = frozenset({"logging", "structlog"})
"""What they ask the time for stays out of the plans."""


def declares_itself(make: Make) -> None:
    """What a policy must have is there, and what the loop reads before the first token is what it may be."""
    try:
        check_members(make())
    except ContractError as error:
        raise AssertionError(str(error)) from error


def lawful(drafts: Sequence[str], engine: Capabilities) -> Law:
    """Return what demands of each plan that it be one the engine can run."""
    used: set[str] = set()
    within = "never" if engine.draft_switch == "none" else "between requests only"

    def law(plan: Plan, start: RoundStart) -> None:
        demand(isinstance(plan, Plan), f"plan() must return a Plan, found {plan!r}")
        gamma = plan.gamma
        demand(type(gamma) is int, f"gamma must be an int, found {gamma!r}")
        demand(0 <= gamma <= start.budget, f"gamma {gamma} is outside 0..{start.budget}, the budget")
        demand(
            plan.draft is None or plan.draft in start.drafts,
            f"there is no draft {plan.draft!r} among {list(start.drafts)}",
        )
        demand(
            isinstance(plan.score, frozenset) and plan.score <= set(start.drafts),
            f"`score` must be a frozenset of drafts, found {plan.score!r}",
        )
        if start.index == 0 and engine.draft_switch == "request":
            used.clear()
        if engine.draft_switch != "round" and gamma > 0 and len(start.drafts) == len(drafts):
            used.add(plan.draft or next(iter(start.drafts)))
            demand(
                len(used) == 1,
                f"this engine changes drafts {within}, but {' and '.join(sorted(used))} were planned",
            )
        able = engine.gammas
        demand(
            able is None or gamma == 0 or gamma in able,
            f"gamma {gamma} is not one of the engine's {able}; choose from start.gammas(limit)",
        )
        fits = start.budget > 0 if able is None else any(0 < g <= start.budget for g in able)
        demand(
            gamma > 0 or engine.zero_gamma or not fits, "gamma 0 was planned on an engine that always drafts"
        )

    return law


def stays_lawful(make: Make, drafts: Sequence[str], engine: Capabilities, examples: int) -> None:
    """P1, and the engine's abilities: whatever happens, the plan is one the engine can run."""
    law = lawful(drafts, engine)
    for_steps(lambda steps: live(make(), steps, drafts, engine=engine, law=law), STEPS, examples)


def repeats_itself(make: Make, drafts: Sequence[str], examples: int) -> None:
    """P2: two equal policies that see the same plan the same, also after others have lived beside them."""

    def twins(steps: list[Step]) -> None:
        first, other, bystander = make(), make(), make()
        plans = live(first, steps, drafts)
        live(bystander, many_steps(20, seed=1), drafts)
        demand(
            live(other, steps, drafts) == plans,
            "two policies of the same configuration and seed planned differently on the same inputs: "
            "one reads a clock, an unseeded generator, or state shared between instances",
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
        demand(
            refused[0] != cut[0],
            f"a round that was ended (Round.ended, {ended!r}) taught the policy the same as a refusal",
        )
        demand(
            cut[1] > refused[1] or not lowers,
            f"rounds that were ended ({ended!r}) lowered the planned gammas as far as refusals did (to {cut[1]} over "
            "20 rounds)",
        )


def reads_no_clock(make: Make, drafts: Sequence[str]) -> None:
    """P2: time and chance come from outside, even where what was read has not yet changed a plan."""
    policy = make()
    found: set[str] = set()
    hidden = random.random.__self__  # type: ignore[attr-defined]  # the generator behind the functions of `random`

    def watch(frame: FrameType, event: str, called: Any) -> None:
        if event != "c_call" or str(frame.f_globals.get("__name__")).partition(".")[0] in LOGGERS:
            return
        name, home = getattr(called, "__name__", ""), getattr(called, "__self__", None)
        module = getattr(home, "__name__", None) or getattr(home, "__module__", None)
        if home is hidden:
            found.add(f"the shared generator of `random` ({name})")
        elif module in CLOCKS and name not in {"fromtimestamp", "fromisoformat", "strptime"}:
            found.add(f"a clock ({module}.{name})")
        elif name in CHANCE:
            found.add(f"the system's chance ({name})")

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
    demand(
        not found, f"the policy reads {' and '.join(sorted(found))}; take a seed, and times from the rounds"
    )


def _after(make: Make, drafts: Sequence[str], *, rounds: int = 40, **how: Any) -> tuple[str, int]:
    """Return the state of a trained policy after one such round, and the sum of its next 20 plans after `rounds`."""
    step = replace(Step(budget=40, context=60, lag=0, found=40, accepted=0), **how)
    once, often = make(), make()
    for policy, count in ((once, 1), (often, rounds)):
        live(policy, many_steps(45, seed=7, accuracy=0.8), drafts)
        live(policy, [step] * count, drafts)
    plans = live(often, [replace(step, abandoned=True)] * 20, drafts)
    return saved(once), sum(plan.gamma for plan in plans)
