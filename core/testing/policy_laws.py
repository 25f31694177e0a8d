"""The properties every policy must have, one function each; `check_policy` runs them all.

Each takes a factory of fresh, equal policies and raises AssertionError with a sentence that says what is wrong.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure

from paceline.core.abilities import Mergeable
from paceline.core.protocols import Policy
from paceline.core.records import SIGNALS, Capabilities, Plan, Requirements, RoundStart
from paceline.core.testing.policy_steps import STEPS, Step, live, many_steps

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Make = Callable[[], Policy]


def declares_itself(make: Make) -> None:
    """`needs` and `requires` are what the loop reads before the first token."""
    policy = make()
    demand(
        isinstance(policy.needs, frozenset) and policy.needs <= SIGNALS,
        f"`needs` is {policy.needs!r}, no set of signals",
    )
    demand(
        isinstance(policy.requires, Requirements),
        f"`requires` is {policy.requires!r}, but must be a Requirements",
    )


def stays_lawful(make: Make, drafts: Sequence[str], engine: Capabilities, examples: int) -> None:
    """P1, and the engine's abilities: whatever happens, the plan is one the engine can run."""

    def law(plan: Plan, start: RoundStart) -> None:
        demand(isinstance(plan, Plan), f"plan() must return a Plan, found {plan!r}")
        gamma = plan.gamma
        demand(type(gamma) is int, f"gamma must be an int, found {gamma!r}")
        demand(0 <= gamma <= start.budget, f"gamma {gamma} is outside 0..{start.budget}, the budget")
        demand(
            plan.draft is None or plan.draft in drafts,
            f"there is no draft {plan.draft!r} among {list(drafts)}",
        )
        demand(
            isinstance(plan.score, frozenset) and plan.score <= set(drafts),
            f"`score` must be a frozenset of drafts, found {plan.score!r}",
        )
        able = engine.gammas
        demand(
            able is None or gamma == 0 or gamma in able, f"gamma {gamma} is not one of the engine's {able}"
        )
        fits = start.budget > 0 if able is None else any(0 < g <= start.budget for g in able)
        demand(
            gamma > 0 or engine.zero_gamma or not fits, "gamma 0 was planned on an engine that always drafts"
        )

    _for_steps(lambda steps: live(make(), steps, drafts, engine=engine, law=law), STEPS, examples)


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

    _for_steps(twins, STEPS, examples)


def survives_a_restart(make: Make, drafts: Sequence[str], examples: int) -> None:
    """A policy restored from its JSON state goes on exactly as the one that was saved."""

    def restart(lives: tuple[list[Step], list[Step]]) -> None:
        before, after = lives
        policy, restored = make(), make()
        live(policy, before, drafts)
        saved = _json(policy)
        restored.load_state_dict(json.loads(saved))
        demand(_json(policy) == saved, "asking for state_dict() changed what the next one returns")
        demand(_json(restored) == saved, "state_dict() of a restored policy differs from what it was given")
        demand(
            live(restored, after, drafts) == live(policy, after, drafts),
            "a policy restored from its state_dict() plans differently from the one that was saved",
        )

    _for_steps(restart, st.tuples(STEPS, STEPS), examples)


def refuses_damaged_state(make: Make, drafts: Sequence[str]) -> None:
    """A state of another version, or with a part missing or of the wrong kind, changes nothing."""
    policy, donor = make(), make()
    live(policy, many_steps(30, seed=2), drafts)
    live(donor, many_steps(60, seed=3), drafts)
    good = json.loads(_json(donor))
    demand("version" in good, 'state_dict() has no "version"')
    damaged: list[dict[str, Any]] = [{}, good | {"version": "no version"}, good | {"version": -1}]
    for key in good:
        damaged.append({name: value for name, value in good.items() if name != key})
        damaged.append(good | {key: "damage" if not isinstance(good[key], str) else 12345})
    before = _json(policy)
    for state in damaged:
        try:
            policy.load_state_dict(state)
        except ValueError as error:
            demand(len(str(error)) > 10, f"the refusal of a damaged state explains nothing: {error!r}")
        except Exception as error:
            raise AssertionError(
                f"a damaged state must be refused with ValueError, found {error!r}"
            ) from error
        else:
            raise AssertionError(f"the damaged state {_short(state)} was accepted")
        demand(_json(policy) == before, f"refusing the damaged state {_short(state)} changed the policy")


def tells_cut_from_refused(make: Make, drafts: Sequence[str]) -> None:
    """A round that was ended is censored: what was not accepted there was not refused.

    A policy that tells a refusal from full acceptance must also tell it from a round cut at the same place; and if
    many refusals lower what it plans, as many cut rounds must not lower it as far. (They need not lower it: what is
    refused may be the trial of a draft that is then left alone.)
    """
    refused, agreed, cut = (_after(make, drafts, **how) for how in ({}, {"accepted": 40}, {"ended": "eos"}))
    if refused[0] == agreed[0]:
        return
    demand(
        refused[0] != cut[0], "a round that was ended (Round.ended) taught the policy the same as a refusal"
    )
    if refused[1] < min(agreed[1], _after(make, drafts, rounds=0)[1]):
        demand(
            cut[1] > refused[1],
            f"rounds that were ended lowered the planned gammas as far as refusals did (to {cut[1]} over 20 rounds)",
        )


def pools(make: Make, drafts: Sequence[str]) -> None:
    """For a `Mergeable`: the statistics of a policy that absorbed two others are the sum of theirs."""
    first, second, both = make(), make(), make()
    if not (isinstance(first, Mergeable) and isinstance(second, Mergeable) and isinstance(both, Mergeable)):
        return
    live(first, many_steps(40, seed=4), drafts)
    live(second, many_steps(25, seed=5, accuracy=0.4), drafts)
    one, other = first.export(), second.export()
    both.absorb(one)
    both.absorb(other)
    total = both.export()
    for key in one.keys() | other.keys() | total.keys():
        expected = one.get(key, 0.0) + other.get(key, 0.0)
        found = total.get(key, 0.0)
        demand(
            math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9),
            f"exports do not add up: {key!r} is {found} after absorbing parts of {expected} in sum",
        )
    demand(first.export() == one, "absorbing the export of a policy changed that policy")


def stays_small(make: Make, drafts: Sequence[str]) -> None:
    """What is kept does not grow with the number of rounds."""
    policy = make()
    steps = many_steps(5000, seed=6)
    live(policy, steps[:2500], drafts)  # enough to fill a buffer of a few thousand tokens
    early = len(_json(policy))
    live(policy, steps[2500:], drafts)
    late = len(_json(policy))
    demand(
        late <= 1.25 * early + 256,
        f"the state grew from {early} to {late} characters between rounds 2500 and 5000",
    )


def demand(holds: bool, sentence: str) -> None:
    """Raise AssertionError with a sentence unless something holds."""
    if not holds:
        raise AssertionError(sentence)


def _after(make: Make, drafts: Sequence[str], *, rounds: int = 40, **how: Any) -> tuple[str, int]:
    """Return the state of a trained policy after one such round, and the sum of its next 20 plans after `rounds`."""
    step = replace(Step(budget=40, context=60, lag=0, found=40, accepted=0), **how)
    once, often = make(), make()
    for policy, count in ((once, 1), (often, rounds)):
        live(policy, many_steps(45, seed=7, accuracy=0.8), drafts)
        live(policy, [step] * count, drafts)
    plans = live(often, [replace(step, abandoned=True)] * 20, drafts)
    return _json(once), sum(plan.gamma for plan in plans)


def _for_steps(check: Callable[[Any], object], strategy: SearchStrategy[Any], examples: int) -> None:
    """Run a check over many generated lives; the same ones each time, shrunk when one fails."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(value: Any) -> None:
        check(value)

    try:
        run()
    except FlakyFailure as error:  # a policy that is not deterministic need not fail twice; it failed
        raise error.exceptions[0] from None


def _json(policy: Policy) -> str:
    try:
        return json.dumps(policy.state_dict(), allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"state_dict() must be JSON-able with finite numbers: {error}") from error


def _short(state: Mapping[str, Any]) -> str:
    text = repr(state)
    return text if len(text) <= 120 else text[:117] + "..."
