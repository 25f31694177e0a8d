"""Detects texts that go round in circles, which flatters every draft: what repeats is easily foretold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TAIL, PERIOD = 64, 32
"""A text loops when its last 64 tokens repeat with a period of at most 32: at least twice, that is."""

RUN, SHARE = 8, 0.25
"""It repeats itself when a quarter of its runs of eight tokens occurred before; a reader notices that."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """Kinds of texts. `loops`: its end repeats exactly. `repeats`: much of it was there before."""

    loops: bool
    repeats: bool

    @property
    def varies(self) -> bool:
        """True where it does neither."""
        return not (self.loops or self.repeats)


def repetition(tokens: Sequence[int]) -> Repetition:
    """Look at the tokens of one text."""
    end = list(tokens)[-TAIL:]
    loops = len(end) == TAIL and any(end[period:] == end[:-period] for period in range(1, PERIOD + 1))
    runs = [tuple(tokens[i : i + RUN]) for i in range(len(tokens) - RUN + 1)]
    return Repetition(loops, bool(runs) and 1 - len(set(runs)) / len(runs) >= SHARE)
