"""Prices along a text: a level that changes as a kind says, and chance around it.

Everything is a function of the place in the text and not of a policy's own rounds, so that every policy meets the same
prices at the same token. Durations in rounds become tokens at `ROUND_TOKENS` a round.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

import numpy as np

from paceline.lab.recording.model import Changes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DRAFT = "draft"
ROUND_TOKENS = 2.3
"""Tokens that a round yields at the best gamma where three in four draft tokens are right and cost 0.08 of a step."""

NOISE = 0.03
"""Standard deviation of the logarithm of each timing, as on a quiet machine."""

LEVELS = (1.0, 1.0, 2.0, 4.0, 10.0)
LEVEL_ROUNDS = 15.0
JITTER = 0.3
"""A busy machine, as it was seen: how slow it can be, about how long it stays so, and the noise of each timing."""

STALL_SHARE, STALL = 0.02, 10.0

Where = Literal["draft", "target", "all"]


@dataclass(frozen=True, slots=True)
class Prices:
    """Factors and summands at each place; float64 (n,) each, or one number for all places.

    Attributes:
        draft, verify: Factors.
        token_s: Seconds that each drafted token adds to verification.
    """

    draft: Floats
    verify: Floats
    token_s: Floats

    def changes(self) -> Changes:
        """Return them as a text of a recording holds them."""
        narrow = [factors.astype(np.float32) for factors in (self.verify, self.token_s, self.draft)]
        return Changes(narrow[0], narrow[1], {DRAFT: narrow[2]})


Level = Callable[[int, Random], Prices]
"""The level of a kind for a text of so many tokens."""

Chance = Callable[[int, Random], tuple[list[float], list[float]]]
"""Factors of drafting and of verifying around the level, by place; their mean is a constant."""


def tokens(rounds: float) -> int:
    """Return how many tokens so many rounds are worth."""
    return round(rounds * ROUND_TOKENS)


def even(length: int, random: Random) -> Prices:
    """Return prices that never change."""
    del random
    return Prices(np.ones(length), np.ones(length), np.zeros(length))


def spell(where: Where, factor: float, begin: int, end: int) -> Level:
    """Return prices that are dearer from one place to another."""

    def level(length: int, random: Random) -> Prices:
        prices = even(length, random)
        _raise(prices, slice(begin, end), where, factor)
        return prices

    return level


def phases(rounds: float, where: Where, factor: float = 1.0, token_s: float = 0.0) -> Level:
    """Return prices that are as ever for some rounds, then dearer for as many, and so on."""

    def level(length: int, random: Random) -> Prices:
        prices, stay = even(length, random), tokens(rounds)
        for begin in range(stay, length, 2 * stay):
            _raise(prices, slice(begin, begin + stay), where, factor)
            prices.token_s[begin : begin + stay] = token_s
        return prices

    return level


def busy(length: int, random: Random) -> Prices:
    """Return the prices of a machine that others use: all work slows down, each level for about `LEVEL_ROUNDS`."""
    prices, begin = even(length, random), 0
    while begin < length:
        end = begin + tokens(LEVEL_ROUNDS * random.uniform(0.5, 1.5))
        _raise(prices, slice(begin, end), "all", random.choice(LEVELS))
        begin = end
    return prices


def quiet(length: int, random: Random) -> tuple[list[float], list[float]]:
    """Return the noise of a quiet machine."""
    return _noise(length, random, NOISE)


def jitter(length: int, random: Random) -> tuple[list[float], list[float]]:
    """Return the noise of a busy machine."""
    return _noise(length, random, JITTER)


def stalls(length: int, random: Random) -> tuple[list[float], list[float]]:
    """Return noise, and now and then a round that takes many times as long."""
    drafting, verifying = quiet(length, random)
    for place in range(length):
        if random.random() < STALL_SHARE:
            drafting[place] *= STALL
            verifying[place] *= STALL
    return drafting, verifying


def with_chance(level: Prices, chance: tuple[list[float], list[float]]) -> Prices:
    """Return the prices that rounds really meet."""
    drafting, verifying = map(np.asarray, chance)
    return Prices(level.draft * drafting, level.verify * verifying, level.token_s * verifying)


def _noise(length: int, random: Random, sigma: float) -> tuple[list[float], list[float]]:
    """Return factors around 1, drawn anew for each timing."""
    # exp(sigma z - sigma^2 / 2) has mean 1.
    drafting, verifying = (
        [math.exp(random.gauss(-0.5 * sigma * sigma, sigma)) for _ in range(length)] for _ in range(2)
    )
    return drafting, verifying


def _raise(prices: Prices, places: slice, where: Where, factor: float) -> None:
    if where != "target":
        prices.draft[places] *= factor
    if where != "draft":
        prices.verify[places] *= factor
