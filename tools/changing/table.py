"""The numbers of several policies as tables, one row a kind; what misses the limit of its kind is bold."""

from __future__ import annotations

from math import inf, isinf
from typing import TYPE_CHECKING

from changing.measure import AFTER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from changing.measure import Numbers

STRETCHES = ("before", "in it", "next 300")
COLUMNS = {"share": "of best static", "useless": "of plain, from 300", "cold": "of steady, kept (cold)"}
"""What the figure of a kind is a share of, by sort."""


def tables(found: Mapping[str, Sequence[Numbers]]) -> str:
    """Return a table of spells, with the speed of the first policy, and one of all other kinds.

    Args:
        found: By policy, the numbers of the same kinds in the same order.
    """
    return "\n\n".join(filter(None, (_spells(found), _shares(found))))


def _spells(found: Mapping[str, Sequence[Numbers]]) -> str:
    first = next(iter(found))
    heads = ["spell", *(f"`{first}` {one}" for one in STRETCHES), *(f"`{name}` back" for name in found)]
    rows = []
    for numbers in _rows(found, spells=True):
        speeds = [f"{numbers[0].mean(column):.2f}" for column in STRETCHES]
        rows.append([numbers[0].kind.name, *speeds, *map(_back, numbers)])
    return _table(heads, rows)


def _back(numbers: Numbers) -> str:
    seeds = numbers.of_seeds["until back"]
    never = sum(map(isinf, seeds))
    slowest = max((one for one in seeds if one < inf), default=inf)
    if never == len(seeds):
        return "**never**"
    text = f"{slowest:.0f}" if not never else f"never {never} of {len(seeds)}"
    return text if numbers.figure <= AFTER else f"**{text}**"


def _shares(found: Mapping[str, Sequence[Numbers]]) -> str:
    heads = ["kind", "share", "least", *(f"`{name}`" for name in found)]
    rows = []
    for numbers in _rows(found, spells=False):
        kind = numbers[0].kind
        shares = [_share(one) for one in numbers]
        rows.append([kind.name, COLUMNS[kind.sort], f"{kind.least:g}", *shares])
    return _table(heads, rows)


def _share(numbers: Numbers) -> str:
    text = f"{numbers.figure:.3f}" if numbers.holds else f"**{numbers.figure:.3f}**"
    return f"{text} ({numbers.mean('cold'):.3f})" if numbers.kind.sort == "cold" else text


def _rows(found: Mapping[str, Sequence[Numbers]], *, spells: bool) -> list[tuple[Numbers, ...]]:
    every = zip(*found.values(), strict=True)
    return [one for one in every if (one[0].kind.sort == "spell") == spells]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
