"""What a policy keeps: bounded, however many rounds and requests it saw, and no text."""

from __future__ import annotations

import gc
import sys
from dataclasses import replace
from itertools import pairwise
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING

from paceline.core.testing.policy_steps import Words, live, many_steps
from paceline.core.testing.policy_trials import demand, saved

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paceline.core.testing.policy_steps import Step
    from paceline.core.testing.policy_trials import Make

ROUNDS = 5000
GROWTH, SLACK = 1.25, 2048
"""By how much, and by how many bytes besides, something of bounded size may still grow after half of the rounds."""

LONG_TEXT = 20_000
SHARED = (type, ModuleType, CodeType, BuiltinFunctionType)
"""What belongs to the program and not to a policy."""


def stays_small(make: Make, drafts: Sequence[str]) -> None:
    """What is kept does not grow with the number of rounds or of requests, in the saved state or outside of it.

    Parts that are seldom used, as arms of a bandit, fill slowly what they are bounded by. So a policy that still grows
    has to go on, and must grow less over as many rounds again as it had before: what has a bound does.
    """
    policy = make()
    steps = many_steps(2 * ROUNDS, seed=6)
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
        demand(
            _settled(early, middle, slack) or late - middle <= GROWTH * (middle - early) + slack,
            f"{what} grew from {early} to {middle} and {late} {unit} within {', '.join(map(str, marks[1:]))} rounds",
        )


def _settled(early: int, late: int, slack: int) -> bool:
    return late <= GROWTH * early + slack


def keeps_no_text(make: Make, drafts: Sequence[str]) -> None:
    """`RoundStart.tokens` is read and let go: neither the sequence itself is kept, nor a copy that grows with it."""
    policy = make()
    steps = many_steps(8, seed=9)
    live(policy, steps, drafts)
    demand(
        not any(isinstance(part, Words) for part in parts(policy)),
        "RoundStart.tokens, or a RoundStart that holds it, was kept after the round; read it and let it go",
    )
    sizes = []
    for length in (LONG_TEXT, 4 * LONG_TEXT):
        text = tuple(i * i % 50_021 for i in range(length))
        policy = make()
        live(policy, [_at_the_end(length, i) for i in range(4)], drafts, text=text)
        sizes.append(size(policy))
    demand(
        sizes[1] <= GROWTH * sizes[0] + SLACK,
        f"what the policy holds grows with the text: {sizes[0]} bytes after {LONG_TEXT} tokens and {sizes[1]} after "
        f"{4 * LONG_TEXT}",
    )


def _at_the_end(length: int, place: int) -> Step:
    return replace(many_steps(1, seed=10 + place)[0], context=length - 1)


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
