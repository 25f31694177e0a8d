"""Laws on what a policy keeps: restored at any time, refused if damaged, pooled without loss, bounded, and no text."""

from __future__ import annotations

import gc
import json
import math
import sys
from collections import deque
from dataclasses import fields, replace
from itertools import pairwise
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from paceline.core.optional_protocols import Mergeable
from paceline.core.state.declared import PolicyState
from paceline.core.testing.failures import require
from paceline.core.testing.policy_steps import (
    STEPS,
    Step,
    Words,
    for_steps,
    live,
    many_steps,
    saved,
    short,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from paceline.core.protocols import Policy
    from paceline.core.testing.policy_steps import Make

DAMAGES = 150
"""As many damages are tried; states are alike inside, so that more would find little."""

LIVES = st.tuples(STEPS, STEPS)
"""A life before a restart and one after it."""

ROUNDS = 5000

GROWTH, SLACK = 1.25, 2048
"""By how much, and by how many bytes besides, something of bounded size may still grow after half of the rounds."""

LONG_TEXT = 20_000

BASE = "deriving from BasePolicy does that (docs/writing-a-policy.md)"

PLAIN = (bool, int, float, str, list, tuple, dict, set, frozenset, deque, type(None))
"""Types of attributes that are compared to say what a restart lost."""

SHARED = (type, ModuleType, CodeType, BuiltinFunctionType)
"""Types that belong to the program and not to a policy."""


def survives_a_restart(make: Make, drafts: Sequence[str], examples: int) -> None:
    """A policy restored from its JSON state goes on exactly as the one that was saved."""

    def restart(lives: tuple[list[Step], list[Step]]) -> None:
        before, after = lives
        policy, restored = make(), make()
        live(policy, before, drafts)
        state = saved(policy)
        restored.load_state_dict(json.loads(state))
        require(
            saved(policy) == state,
            "asking for state_dict() changed what the next one returns: it must read the policy and change nothing",
        )
        again = saved(restored)
        require(
            again == state,
            "state_dict() of a restored policy differs from what load_state_dict() was given, which must take over all "
            f"of it: {short(again)} is not {short(state)}",
        )
        lost = _lost(policy, restored)
        require(
            live(restored, after, drafts) == live(policy, after, drafts),
            "a policy restored from its state_dict() plans differently from the one that was saved: what plan() reads "
            f"belongs in the state{lost}",
        )

    for_steps(restart, LIVES, examples)


def _lost(policy: Policy, restored: Policy) -> str:
    """Return the plain attributes of a policy that one restored from it does not share, as part of a sentence."""
    others = members(restored)
    differing = (
        f"`{name}` is {short(value)} in one and {short(others.get(name))} in the other"
        for name, value in members(policy).items()
        if isinstance(value, PLAIN) and value != others.get(name)
    )
    return "".join(f"; {sentence}" for sentence in differing)


def can_be_saved_within_a_round(make: Make, drafts: Sequence[str]) -> None:
    """The state may be asked for while a round is under way: that changes nothing, and what it gives can be loaded."""
    steps = many_steps(60, seed=11)
    policy, watched = make(), make()
    states: list[str] = []
    plans = live(watched, steps, drafts, law=lambda _plan, _start: states.append(saved(watched)))
    require(
        plans == live(policy, steps, drafts) and saved(policy) == saved(watched),
        "asking for state_dict() between plan() and observe() changed what the policy does: it must read the policy "
        "and change nothing",
    )
    make().load_state_dict(json.loads(states[-1]))


def refuses_damaged_state(make: Make, drafts: Sequence[str]) -> None:
    """A state of another policy or version, or with a part missing or of the wrong kind, changes nothing."""
    policy, donor = make(), make()
    live(policy, many_steps(30, seed=2), drafts)
    live(donor, many_steps(60, seed=3), drafts)
    good = json.loads(saved(donor))
    require(
        "version" in good,
        'state_dict() has no "version", by which a later release could tell this state from its own: save a number '
        f"there, and refuse others; {BASE}",
    )
    before = saved(policy)
    for damage, state in _damaged(good):
        try:
            policy.load_state_dict(state)
        except ValueError as error:
            require(
                len(str(error)) > 10,
                f"the refusal of a damaged state, one with {damage}, must say which part is wrong, found {error!r}",
            )
        except Exception as error:
            raise AssertionError(
                f"a damaged state must be refused with ValueError, found {error!r} for one with {damage}; {BASE}"
            ) from error
        else:
            raise AssertionError(
                f"a damaged state was accepted, one with {damage}: load_state_dict() must refuse with ValueError what "
                f"state_dict() cannot have returned; {BASE}"
            )
        require(
            saved(policy) == before,
            f"refusing a damaged state, one with {damage}, changed the policy: look at all of it before taking over "
            f"any; {BASE}",
        )


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
    export, other = _export(first), _export(second)
    _absorb(both, export)
    _absorb(both, other)
    _demand_sum(both, export, other, "after absorbing both parts")
    require(
        _export(first) == export,
        "absorbing the export of a policy changed that policy: copy the numbers, and hold nothing that was handed over",
    )
    live(learnt, many_steps(40, seed=4), drafts)
    _absorb(learnt, other)
    _demand_sum(learnt, export, other, "after one part was learnt and the other absorbed")
    state = saved(learnt)
    for damage in ({next(iter(export), "a"): math.nan}, {"no statistic of anybody": 1.0}):
        try:
            _absorb(learnt, damage)
        except ValueError:
            require(
                saved(learnt) == state,
                f"refusing the statistics {damage} changed the policy: look at all before adding any",
            )
        else:
            raise AssertionError(
                f"absorb() accepted {damage}: it must refuse with ValueError what is not finite, or not of this policy"
            )


def _export(policy: Policy) -> dict[str, float]:
    assert isinstance(policy, Mergeable)
    statistics = policy.export()
    require(
        all(isinstance(key, str) and math.isfinite(value) for key, value in statistics.items()),
        f"export() must map names to finite numbers, found {short(statistics)}",
    )
    return dict(statistics)


def _absorb(policy: Policy, statistics: Mapping[str, float]) -> None:
    assert isinstance(policy, Mergeable)
    policy.absorb(statistics)


def _demand_sum(policy: Policy, export: Mapping[str, float], other: Mapping[str, float], when: str) -> None:
    total = _export(policy)
    for key in export.keys() | other.keys() | total.keys():
        expected, summed = export.get(key, 0.0) + other.get(key, 0.0), total.get(key, 0.0)
        require(
            math.isclose(summed, expected, rel_tol=1e-9, abs_tol=1e-9),
            f"exports do not add up: {key!r} is {summed} {when}, which are {expected} in sum; export() must return "
            "sums over rounds, and absorb() add to them",
        )


def stays_small(make: Make, drafts: Sequence[str]) -> None:
    """Demand that memory does not grow with rounds or requests, in the saved state or outside of it.

    Parts that are seldom used, as arms of a bandit, fill slowly what they are bounded by. So a policy that still grows
    has to go on, and must grow less over as many rounds again as it had before: what has a bound does.
    """
    policy = make()
    steps = many_steps(2 * ROUNDS, seed=6)
    before = {name: size(value) for name, value in members(policy).items()}
    marks = (
        0,
        ROUNDS // 2,
        ROUNDS,
        2 * ROUNDS,
    )  # the first is enough to fill a buffer of a few thousand tokens
    seen = []
    for begin, end in pairwise(marks):
        live(policy, steps[begin:end], drafts)
        seen.append((len(saved(policy)), size(policy)))
        if end == ROUNDS and all(map(_settled, *seen, (256, SLACK))):
            return
    for what, unit, (early, middle, late), slack in zip(
        ("the state", "what the policy holds"),
        ("characters", "bytes"),
        zip(*seen, strict=True),
        (256, SLACK),
        strict=True,
    ):
        require(
            _settled(early, middle, slack) or late - middle <= GROWTH * (middle - early) + slack,
            f"{what} grew from {early} to {middle} and {late} {unit} within {', '.join(map(str, marks[1:]))} rounds: "
            f"{_largest(policy, before)}keep running sums, or a deque(maxlen=...)",
        )


def _largest(policy: Policy, before: Mapping[str, int]) -> str:
    """Return the attribute that grew most, as the beginning of a sentence."""
    grown = {name: size(value) - before.get(name, 0) for name, value in members(policy).items()}
    return f"most of it is in `{max(grown, key=lambda name: grown[name])}`; " if grown else ""


def _settled(early: int, late: int, slack: int) -> bool:
    return late <= GROWTH * early + slack


def keeps_no_text(make: Make, drafts: Sequence[str]) -> None:
    """`RoundStart.tokens` is read and let go: neither the sequence itself is kept, nor a copy that grows with it."""
    policy = make()
    steps = many_steps(8, seed=9)
    live(policy, steps, drafts)
    holding = any(isinstance(part, Words) for part in parts(policy))
    where = [
        name
        for name, value in members(policy).items()
        if any(isinstance(part, Words) for part in parts(value))
    ]
    require(
        not holding,
        "RoundStart.tokens, or a RoundStart that holds it, was kept after the round"
        f"{f' in `{where[0]}`' if where else ''}; read it and let it go",
    )
    sizes = []
    for length in (LONG_TEXT, 4 * LONG_TEXT):
        text = tuple(i * i % 50_021 for i in range(length))
        policy = make()
        live(policy, [_at_the_end(length, i) for i in range(4)], drafts, text=text)
        sizes.append(size(policy))
    require(
        sizes[1] <= GROWTH * sizes[0] + SLACK,
        f"what the policy holds grows with the text: {sizes[0]} bytes after {LONG_TEXT} tokens and {sizes[1]} after "
        f"{4 * LONG_TEXT}; keep a number of tokens that has a bound",
    )


def _at_the_end(length: int, place: int) -> Step:
    return replace(many_steps(1, seed=10 + place)[0], context=length - 1)


def members(policy: object) -> dict[str, object]:
    """Return the attributes of a policy by name, those of its state by `state.name`."""
    own = dict(getattr(policy, "__dict__", {}))
    for name, value in [*own.items()]:
        if isinstance(value, PolicyState):
            del own[name]
            own |= {f"{name}.{field.name}": getattr(value, field.name) for field in fields(value)}
    return own


def size(policy: object) -> int:
    """Return the bytes of everything that a policy alone holds, as `sys.getsizeof` counts them."""
    return sum(sys.getsizeof(part) for part in parts(policy))


def parts(root: object) -> Iterator[object]:
    """Yield every object that can be reached from one, once, without what belongs to the program."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if id(part) in seen or isinstance(part, SHARED):
            continue
        seen.add(id(part))
        yield part
        if isinstance(part, FunctionType):
            # Its globals are a module's; what it closes over may be the policy's own.
            waiting.extend([part.__closure__, part.__defaults__])
        else:
            waiting.extend(gc.get_referents(part))
