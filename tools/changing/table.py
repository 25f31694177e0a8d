"""The numbers of several policies as tables, one row a kind; what misses the limit of its kind is bold."""

from __future__ import annotations

from math import inf, isinf
from typing import TYPE_CHECKING

from changing.measure import AFTER
from paceline.cli._render import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from changing.measure import Numbers

STRETCHES = ("before", "in it", "next 300")
COLUMNS = {"share": "of best static", "useless": "of plain, from 300", "cold": "of steady, kept (cold)"}
"""The speed that the figure of a kind is a share of, by sort."""


def tables(measured: Mapping[str, Sequence[Numbers]]) -> str:
    """Return a table of spells, with the speed of the first policy, and one of all other kinds.

    Args:
        measured: By policy, the numbers of the same kinds in the same order.
    """
    return "\n\n".join(filter(None, (_spells(measured), _shares(measured))))


def _spells(measured: Mapping[str, Sequence[Numbers]]) -> str:
    first = next(iter(measured))
    heads = [
        "spell",
        *(f"`{first}` {stretch}" for stretch in STRETCHES),
        *(f"`{name}` back" for name in measured),
    ]
    rows = []
    for numbers in _rows(measured, spells=True):
        speeds = [f"{numbers[0].mean(column):.2f}" for column in STRETCHES]
        rows.append([numbers[0].kind.name, *speeds, *map(_back, numbers)])
    return _table(heads, rows)


def _back(numbers: Numbers) -> str:
    seeds = numbers.of_seeds["until back"]
    never = sum(map(isinf, seeds))
    slowest = max((tokens for tokens in seeds if tokens < inf), default=inf)
    if never == len(seeds):
        return "**never**"
    text = f"{slowest:.0f}" if not never else f"never {never} of {len(seeds)}"
    return text if numbers.figure <= AFTER else f"**{text}**"


def _shares(measured: Mapping[str, Sequence[Numbers]]) -> str:
    heads = ["kind", "share", "least", *(f"`{name}`" for name in measured)]
    rows = []
    for numbers in _rows(measured, spells=False):
        kind = numbers[0].kind
        shares = [_share(number) for number in numbers]
        rows.append([kind.name, COLUMNS[kind.sort], f"{kind.least:g}", *shares])
    return _table(heads, rows)


def _share(numbers: Numbers) -> str:
    text = f"{numbers.figure:.3f}" if numbers.holds else f"**{numbers.figure:.3f}**"
    return f"{text} ({numbers.mean('cold'):.3f})" if numbers.kind.sort == "cold" else text


def _rows(measured: Mapping[str, Sequence[Numbers]], *, spells: bool) -> list[tuple[Numbers, ...]]:
    every = zip(*measured.values(), strict=True)
    return [row for row in every if (row[0].kind.sort == "spell") == spells]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    table = Table(heads)
    for row in rows:
        table.add(*row)
    return table.markdown().strip() if rows else ""
