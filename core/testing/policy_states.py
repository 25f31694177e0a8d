"""Laws on what a policy learnt: saved and restored at any time, refused when damaged, pooled without loss."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from paceline.core.abilities import Mergeable
from paceline.core.testing.policy_steps import STEPS, Step, live, many_steps
from paceline.core.testing.policy_trials import demand, for_steps, saved, short

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from paceline.core.protocols import Policy
    from paceline.core.testing.policy_trials import Make

DAMAGES = 150
"""As many damages are tried; states are alike inside, so that more would find little."""

LIVES = st.tuples(STEPS, STEPS)
"""A life before a restart and one after it."""


def survives_a_restart(make: Make, drafts: Sequence[str], examples: int) -> None:
    """A policy restored from its JSON state goes on exactly as the one that was saved."""

    def restart(lives: tuple[list[Step], list[Step]]) -> None:
        before, after = lives
        policy, restored = make(), make()
        live(policy, before, drafts)
        state = saved(policy)
        restored.load_state_dict(json.loads(state))
        demand(saved(policy) == state, "asking for state_dict() changed what the next one returns")
        demand(saved(restored) == state, "state_dict() of a restored policy differs from what it was given")
        demand(
            live(restored, after, drafts) == live(policy, after, drafts),
            "a policy restored from its state_dict() plans differently from the one that was saved",
        )

    for_steps(restart, LIVES, examples)


def can_be_saved_within_a_round(make: Make, drafts: Sequence[str]) -> None:
    """The state may be asked for while a round is under way: that changes nothing, and what it gives can be loaded."""
    steps = many_steps(60, seed=11)
    policy, watched = make(), make()
    states: list[str] = []
    plans = live(watched, steps, drafts, law=lambda _plan, _start: states.append(saved(watched)))
    demand(
        plans == live(policy, steps, drafts) and saved(policy) == saved(watched),
        "asking for state_dict() between plan() and observe() changed what the policy does",
    )
    make().load_state_dict(json.loads(states[-1]))


def refuses_damaged_state(make: Make, drafts: Sequence[str]) -> None:
    """A state of another policy or version, or with a part missing or of the wrong kind, changes nothing."""
    policy, donor = make(), make()
    live(policy, many_steps(30, seed=2), drafts)
    live(donor, many_steps(60, seed=3), drafts)
    good = json.loads(saved(donor))
    demand("version" in good, 'state_dict() has no "version"')
    before = saved(policy)
    for damage, state in _damaged(good):
        try:
            policy.load_state_dict(state)
        except ValueError as error:
            demand(len(str(error)) > 10, f"the refusal of a damaged state explains nothing: {error!r}")
        except Exception as error:
            raise AssertionError(
                f"a damaged state must be refused with ValueError, found {error!r} for one with {damage}"
            ) from error
        else:
            raise AssertionError(f"a damaged state was accepted, one with {damage}")
        demand(saved(policy) == before, f"refusing a damaged state, one with {damage}, changed the policy")


def _damaged(good: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield states that are not quite the good one, and how they differ: the whole first, then parts of parts."""
    yield "nothing in it", {}
    for header, others in (("version", ["no version", -1]), ("policy", ["somebody else's"])):
        if header in good:
            yield from ((f"{header} {other!r}", good | {header: other}) for other in others)
    for key in good:
        yield f"{key!r} missing", {name: value for name, value in good.items() if name != key}
    for count, (path, wrong) in enumerate(_wrongs(good)):
        if count == DAMAGES:
            return
        yield f"{wrong!r} at {'.'.join(map(str, path))}", _with(good, path, wrong)


def _wrongs(good: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield places in a state, and for each a value that cannot stand there."""
    level: list[tuple[tuple[Any, ...], Any]] = [((key,), value) for key, value in good.items()]
    while level:
        below: list[tuple[tuple[Any, ...], Any]] = []
        for path, value in level:
            match value:
                case dict():
                    wrongs: list[Any] = ["damage", ["damage"]]
                    below += [((*path, key), inner) for key, inner in list(value.items())[:3]]
                case list():
                    wrongs = ["damage", {"damage": 1}]
                    below += [
                        ((*path, place), value[place]) for place in sorted({0, len(value) - 1}) if value
                    ]
                case str():
                    wrongs = [12345]
                case bool() | None:
                    wrongs = ["damage"]
                case _:
                    wrongs = ["damage", math.nan, math.inf, None]
            yield from ((path, wrong) for wrong in wrongs)
        level = below


def _with(state: Any, path: tuple[Any, ...], wrong: Any) -> Any:
    """Return a copy of a state with another value at one place."""
    if not path:
        return wrong
    copy = dict(state) if isinstance(state, dict) else list(state)
    copy[path[0]] = _with(state[path[0]], path[1:], wrong)
    return copy


def pools(make: Make, drafts: Sequence[str]) -> None:
    """For a `Mergeable`: the statistics of a policy that absorbed others are the sum of theirs and its own."""
    first, second, both, learnt = make(), make(), make(), make()
    if not all(isinstance(policy, Mergeable) for policy in (first, second, both, learnt)):
        return
    live(first, many_steps(40, seed=4), drafts)
    live(second, many_steps(25, seed=5, accuracy=0.4), drafts)
    one, other = _export(first), _export(second)
    _absorb(both, one)
    _absorb(both, other)
    _demand_sum(both, one, other, "after absorbing both parts")
    demand(_export(first) == one, "absorbing the export of a policy changed that policy")
    live(learnt, many_steps(40, seed=4), drafts)
    _absorb(learnt, other)
    _demand_sum(learnt, one, other, "after one part was learnt and the other absorbed")
    state = saved(learnt)
    for damage in ({next(iter(one), "a"): math.nan}, {"no statistic of anybody": 1.0}):
        try:
            _absorb(learnt, damage)
        except ValueError:
            demand(saved(learnt) == state, f"refusing the statistics {damage} changed the policy")
        else:
            raise AssertionError(f"absorb() accepted {damage}; it must refuse it with ValueError")


def _export(policy: Policy) -> dict[str, float]:
    assert isinstance(policy, Mergeable)
    found = policy.export()
    demand(
        all(isinstance(key, str) and math.isfinite(value) for key, value in found.items()),
        f"export() must map names to finite numbers, found {short(found)}",
    )
    return dict(found)


def _absorb(policy: Policy, statistics: Mapping[str, float]) -> None:
    assert isinstance(policy, Mergeable)
    policy.absorb(statistics)


def _demand_sum(policy: Policy, one: Mapping[str, float], other: Mapping[str, float], when: str) -> None:
    total = _export(policy)
    for key in one.keys() | other.keys() | total.keys():
        expected, found = one.get(key, 0.0) + other.get(key, 0.0), total.get(key, 0.0)
        demand(
            math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9),
            f"exports do not add up: {key!r} is {found} {when}, which are {expected} in sum",
        )
