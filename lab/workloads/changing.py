"""Made-up kinds of text whose costs change on the way: what the draft gets right, what work costs, how both change.

Where nothing else is said, the draft gets three tokens in four right, a draft token takes 0.08 of a plain step, a token
that the draft lags 0.03 of that, and each further token of a block adds 1.2 % to its verification. A plain step takes
one second. Every timing has 3 % of noise. Texts of the same seed have the same tokens right in all such kinds.

Prices are a level that changes as a kind says, and chance around it. They are a function of the place in the text and
not of a policy's own rounds, so that every policy meets the same prices at the same token. Durations in rounds become
tokens at `ROUND_TOKENS` a round.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

import numpy as np

from paceline.core.errors import ConfigError
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

Noise = Callable[[int, Random], tuple[list[float], list[float]]]
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


def with_noise(level: Prices, noise: tuple[list[float], list[float]]) -> Prices:
    """Return the prices that rounds really meet."""
    drafting, verifying = map(np.asarray, noise)
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


Rights = Callable[[int, Random], list[bool]]
"""Marks of the tokens that the draft gets right: whether it gets each token of a text of so many tokens right."""

AGREEMENT, PRICE = 0.75, 0.08
SPELL_BEGINS, SPELL_REST = tokens(200), 800
"""Tokens before a spell, as many as 200 rounds yield, and after it: enough to see whether it lasts."""

COLD = 32
WARM = 1200
"""Tokens of a cold request, and of the text from which a policy learns what it is then compared with."""

Sort = Literal["share", "spell", "useless", "cold"]
"""Question asked of a kind: see `tools/changing/measure.py`."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One made-up kind.

    Attributes:
        name: On command lines, in paths and tables.
        sort: What is asked of it.
        length: Tokens of a text.
        rights: What the draft gets right.
        price: Seconds of a draft token; a plain step takes 1.
        level: How prices change.
        noise: What is drawn around them.
        spell: Places where the spell begins and ends; of the sort "spell" only.
        least: What must hold for `auto`: its least speed, as a share of what the sort compares with.
        seeds: Texts and chances that figures are means over.
    """

    name: str
    sort: Sort
    length: int
    rights: Rights
    price: float = PRICE
    level: Level = even
    noise: Noise = quiet
    spell: tuple[int, int] = (0, 0)
    least: float = 0.98
    seeds: int = 5

    def bits(self, seed: int, length: int | None = None) -> list[bool]:
        """Return what the draft gets right in one text."""
        return self.rights(length or self.length, Random(f"changing/bits/{seed}"))

    def prices(self, seed: int, length: int | None = None) -> tuple[Prices, Prices]:
        """Return the level of the prices of one text, and with chance what its rounds meet."""
        length = length or self.length
        random = Random(f"changing/{self.name}/{seed}")
        level = self.level(length, random)
        return level, with_noise(level, self.noise(length, random))


def steady(prob: float = AGREEMENT) -> Rights:
    """Return a draft that gets each token right with the same chance."""

    def rights(length: int, random: Random) -> list[bool]:
        return [random.random() < prob for _ in range(length)]

    return rights


def halves(first: float, second: float) -> Rights:
    """Return a draft whose chance changes in the middle of the text."""

    def rights(length: int, random: Random) -> list[bool]:
        return [random.random() < (first if 2 * place < length else second) for place in range(length)]

    return rights


def periodic(right: int, wrong: int) -> Rights:
    """Return a draft that gets some tokens right, then some wrong, and so on."""

    def rights(length: int, random: Random) -> list[bool]:
        shift = random.randrange(right + wrong)
        return [(place + shift) % (right + wrong) < right for place in range(length)]

    return rights


def _spell(where: Where, factor: float, rounds: int) -> Kind:
    begin, end = SPELL_BEGINS, SPELL_BEGINS + tokens(rounds)
    return Kind(
        f"spell-{where}-x{factor:g}-{rounds}",
        "spell",
        end + SPELL_REST,
        steady(),
        level=spell(where, factor, begin, end),
        spell=(begin, end),
        least=0.95,
    )


SPELLS = ((2.0, 60), (2.0, 300), (5.0, 40), (10.0, 16), (10.0, 40), (30.0, 12), (30.0, 300))
"""Factor by which it is slower, and for how many rounds."""

PLACES: tuple[Where, ...] = ("draft", "target", "all")

JUMPY = 0.93
"""The least share where prices jump every 60 rounds: there is little time to gain what was learnt."""

NOISY = 0.96
"""The least share where timings carry 30 % of noise, in which a machine twice as slow cannot be told by one round."""

KINDS: tuple[Kind, ...] = (
    Kind("even", "share", 1500, steady()),
    *(_spell(where, factor, rounds) for where in PLACES for factor, rounds in SPELLS),
    Kind("draft-x10-60", "share", tokens(1200), steady(), level=phases(60, "draft", 10.0), least=JUMPY),
    Kind("draft-x10-300", "share", tokens(1200), steady(), level=phases(300, "draft", 10.0)),
    Kind(
        "verify-0.3-60",
        "share",
        tokens(1200),
        steady(),
        level=phases(60, "all", token_s=0.3),
        least=JUMPY,
    ),
    Kind("verify-0.3-300", "share", tokens(1200), steady(), level=phases(300, "all", token_s=0.3)),
    Kind("all-x2-60", "share", tokens(1200), steady(), level=phases(60, "all", 2.0), least=JUMPY),
    Kind("all-x2-300", "share", tokens(1200), steady(), level=phases(300, "all", 2.0)),
    Kind("periodic-8-8", "share", 1500, periodic(8, 8)),
    Kind("stalls", "share", 2000, steady(), noise=stalls),
    Kind("draft-dies", "share", 2000, halves(AGREEMENT, 0.0)),
    Kind("draft-comes-alive", "share", 2000, halves(0.0, AGREEMENT)),
    Kind("busy", "share", 2000, steady(), level=busy, noise=jitter, least=NOISY, seeds=20),
    Kind("useless", "useless", 2000, steady(0.0), price=0.3, least=0.99),
    Kind("cold-32", "cold", COLD, steady(), least=0.95),
    Kind("cold-32-cheap", "cold", COLD, steady(), price=0.02, least=0.95),
    Kind("cold-32-dear", "cold", COLD, steady(), price=0.3, least=0.95),
)


def kind(name: str) -> Kind:
    """Return the kind of a name.

    Raises:
        ConfigError: There is none of that name.
    """
    for made_up in KINDS:
        if made_up.name == name:
            return made_up
    raise ConfigError(f"no made-up kind {name!r}; there are: {', '.join(made_up.name for made_up in KINDS)}")
