"""The kinds: what the draft gets right, what work costs, and how both change along a text.

Where nothing else is said, the draft gets three tokens in four right, a draft token takes 0.08 of a plain step, a token
that the draft lags 0.03 of that, and each further token of a block adds 1.2 % to its verification. A plain step takes
one second. Every timing has 3 % of noise. Texts of the same seed have the same tokens right in all such kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from paceline.core.errors import ConfigError
from paceline.lab.changing import prices
from paceline.lab.changing.prices import Chance, Level, Prices, Where, quiet, tokens

Rights = Callable[[int, Random], list[bool]]
"""Whether the draft gets each token of a text of so many tokens right."""

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
        chance: What is drawn around them.
        spell: Places where the spell begins and ends; of the sort "spell" only.
        least: What must hold for `auto`: its least speed, as a share of what the sort compares with.
        seeds: Texts and chances that figures are means over.
    """

    name: str
    sort: Sort
    length: int
    rights: Rights
    price: float = PRICE
    level: Level = prices.even
    chance: Chance = quiet
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
        return level, prices.with_chance(level, self.chance(length, random))


def steady(chance: float = AGREEMENT) -> Rights:
    """Return a draft that gets each token right with the same chance."""

    def rights(length: int, random: Random) -> list[bool]:
        return [random.random() < chance for _ in range(length)]

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
        level=prices.spell(where, factor, begin, end),
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
    Kind(
        "draft-x10-60", "share", tokens(1200), steady(), level=prices.phases(60, "draft", 10.0), least=JUMPY
    ),
    Kind("draft-x10-300", "share", tokens(1200), steady(), level=prices.phases(300, "draft", 10.0)),
    Kind(
        "verify-0.3-60",
        "share",
        tokens(1200),
        steady(),
        level=prices.phases(60, "all", token_s=0.3),
        least=JUMPY,
    ),
    Kind("verify-0.3-300", "share", tokens(1200), steady(), level=prices.phases(300, "all", token_s=0.3)),
    Kind("all-x2-60", "share", tokens(1200), steady(), level=prices.phases(60, "all", 2.0), least=JUMPY),
    Kind("all-x2-300", "share", tokens(1200), steady(), level=prices.phases(300, "all", 2.0)),
    Kind("periodic-8-8", "share", 1500, periodic(8, 8)),
    Kind("stalls", "share", 2000, steady(), chance=prices.stalls),
    Kind("draft-dies", "share", 2000, halves(AGREEMENT, 0.0)),
    Kind("draft-comes-alive", "share", 2000, halves(0.0, AGREEMENT)),
    Kind("busy", "share", 2000, steady(), level=prices.busy, chance=prices.jitter, least=NOISY, seeds=20),
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
