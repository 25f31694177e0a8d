"""Made-up texts for policies to play on: twelve cells, each a price of drafting with a way in which acceptance varies.

Only acceptance and cost matter to a policy, so a text is a sequence of bits: whether the draft, after the target's
tokens so far, would propose the target's next token. The cells cross

    price of a draft token, in plain steps:  0.04, 0.12, 0.30
    acceptance of each token:                steady 0.8; steady 0.5; two regimes (0.9 and 0.3) with a mean stay of 100
                                             tokens in each; a drift (a sine from 0.2 to 0.9 over 600 tokens)

and verification of a block takes 1.2 % longer for each token beyond the first. Everything follows from the seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

Acceptances = Callable[[int, Random], Sequence[float]]

PRICES = (0.04, 0.12, 0.30)
VERIFY_SLOPE = 0.012
STAY = 100.0
PERIOD = 600.0


def _steady(chance: float) -> Acceptances:
    def chances(tokens: int, random: Random) -> list[float]:
        del random
        return [chance] * tokens

    return chances


def _regimes(tokens: int, random: Random) -> list[float]:
    chances, now, other = [], 0.9, 0.3
    if random.random() < 0.5:
        now, other = other, now
    for _ in range(tokens):
        chances.append(now)
        if random.random() < 1.0 / STAY:
            now, other = other, now
    return chances


def _drift(tokens: int, random: Random) -> list[float]:
    phase = random.random()
    return [0.55 + 0.35 * math.sin(2.0 * math.pi * (place / PERIOD + phase)) for place in range(tokens)]


ACCEPTANCES: dict[str, Acceptances] = {
    "steady-0.8": _steady(0.8),
    "steady-0.5": _steady(0.5),
    "regimes": _regimes,
    "drift": _drift,
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One price of drafting with one kind of acceptance.

    Attributes:
        price: Seconds of one draft token; a plain step takes 1.
        acceptance: Key of `ACCEPTANCES`.
    """

    price: float
    acceptance: str

    @property
    def name(self) -> str:
        """Its name in tables."""
        return f"{self.acceptance}, price {self.price:g}"

    def verify_s(self, length: int, context: int) -> float:
        """Return the seconds to verify a block of `length` tokens; context costs nothing here."""
        del context
        return 1.0 + VERIFY_SLOPE * (length - 1)

    def text(self, tokens: int, seed: int) -> list[bool]:
        """Return the bits of one text."""
        random = Random(f"{self.name}/{seed}")
        chances = ACCEPTANCES[self.acceptance](tokens, random)
        return [random.random() < chance for chance in chances]


CELLS = tuple(Cell(price, acceptance) for price in PRICES for acceptance in ACCEPTANCES)
