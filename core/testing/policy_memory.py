"""What a policy keeps: bounded, however many rounds and requests it saw, and no text."""

from __future__ import annotations

import gc
import sys
from dataclasses import replace
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
    """What is kept does not grow with the number of rounds or of requests, in the saved state or outside of it."""
    policy = make()
    steps = many_steps(ROUNDS, seed=6)
    half = ROUNDS // 2  # enough to fill a buffer of a few thousand tokens
    live(policy, steps[:half], drafts)
    early, light = len(saved(policy)), size(policy)
    live(policy, steps[half:], drafts)
    late, heavy = len(saved(policy)), size(policy)
    demand(
        late <= GROWTH * early + 256,
        f"the state grew from {early} to {late} characters between rounds {half} and {ROUNDS}",
    )
    demand(
        heavy <= GROWTH * light + SLACK,
        f"what the policy holds grew from {light} to {heavy} bytes between rounds {half} and {ROUNDS}",
    )


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
