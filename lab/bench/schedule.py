"""Order of the modes: every block holds all of them once, in an order drawn anew.

A machine drifts: it warms up, slows down, does other work. Modes that take turns meet the same drift, and a
drawn order keeps one mode from always following the same other one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Block:
    """All modes on one prompt, in the order they run."""

    repeat: int
    prompt: str
    order: tuple[str, ...]


def blocks(modes: Sequence[str], prompts: Sequence[str], *, repeats: int, seed: int = 0) -> Iterator[Block]:
    """Yield the blocks of a bench: every prompt once, then every prompt again, `repeats` times.

    The order in a block depends on the seed, the repeat and the prompt's name only, so that it stays the same
    when prompts are added or left out.
    """
    for repeat in range(repeats):
        for prompt in prompts:
            order = list(modes)
            random.Random(f"{seed}/{repeat}/{prompt}").shuffle(order)
            yield Block(repeat, prompt, tuple(order))
