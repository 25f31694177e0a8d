"""The bench as tables for a terminal, at most 80 columns wide where names are not too many and too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from paceline.lab.bench.summary import BASE
from paceline.lab.stats import FEWEST, TOO_FEW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from paceline.lab.bench.summary import Result, Summary
    from paceline.lab.stats import Ratio

SHOWN_DIFFERENCES = 5
NAME_WIDTH = 24
"""Longer names of modes are cut short; the JSON has them whole."""


def times(ratio: Ratio | None) -> str:
    """Write a ratio as `1.72x`, or nothing when it is unknown."""
    return "" if ratio is None else f"{ratio.value:.2f}x"


def spread(ratio: Ratio | None) -> str:
    """Write the spread of a ratio as `1.6-1.8`, or nothing when it is unknown."""
    return "" if ratio is None or ratio.low is None else f"{ratio.low:.2f}-{ratio.high:.2f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f}%"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _same(summary: Summary, *, compared: bool) -> Text:
    if not compared:
        return Text("sampled")
    if summary.differing is None:
        return Text("")
    return Text(f"{summary.differing} differ", style="red") if summary.differing else Text("yes")


def _table(first: str, *headings: str) -> Table:
    """Return an empty table whose first column names the modes and whose others hold numbers.

    On a narrow terminal columns that may wrap give way first: the names, which then are cut short instead.
    """
    table = Table(title=None, box=None, pad_edge=False, header_style="bold")
    table.add_column(first, max_width=NAME_WIDTH)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _name(mode: str) -> Text:
    return Text(mode, no_wrap=True, overflow="ellipsis")


def main_table(result: Result) -> Table:
    """Return the table with one row a mode."""
    headings = ("tok/s", "speed-up", "90%", "accepted", "tok/\nround", "gamma", "over-\nhead", "same")
    table = _table("mode", *headings)
    for one in result.summaries:
        best = one.mode == result.best_static
        table.add_row(
            _name(f"{one.mode} *" if best else one.mode),
            f"{one.tokens_per_second:.1f}",
            times(one.speedup),
            spread(one.speedup) if one.mode != BASE else "",
            _share(one.acceptance),
            _number(one.tokens_per_round, 2),
            _number(one.gamma, 1),
            _share(one.overhead),
            _same(one, compared=result.compared),
            style="bold" if best else None,
        )
    return table


def against_table(result: Result) -> Table | None:
    """Return every mode against the best static gamma of those run, and against the library, the fastest first."""
    best, reference = result.best_static, result.reference
    if best is None and reference is None:
        return None
    headings = ([f"over\n{best} *", "90%"] if best else []) + ([f"over\n{reference}"] if reference else [])
    table = _table("compared", *headings)
    for one in sorted(result.summaries, key=lambda one: -one.tokens_per_second):
        over = result.over_best_static.get(one.mode)
        cells = [times(over), spread(over)] if best else []
        table.add_row(_name(one.mode), *cells, *([times(one.over_reference)] if reference else []))
    return table


def backends_table(result: Result) -> Table | None:
    """Return the modes on further backends against the same modes on the first, where there are such."""
    if not result.over_twin:
        return None
    table = _table("backends compared", "over the\nfirst", "90%")
    for mode, ratio in result.over_twin.items():
        table.add_row(_name(mode), times(ratio), spread(ratio))
    return table


def kinds_table(result: Result) -> Table | None:
    """Return the speed-ups by what the texts are like and by kind of prompt, or None when all are alike."""
    kinds = list(dict.fromkeys(kind for one in result.summaries for kind in one.kinds))
    textured = any(one.varying for one in result.summaries) and any(one.looping for one in result.summaries)
    if len(kinds) < 2:
        kinds = []
    if not kinds and not textured:
        return None
    table = _table("speed-up by text", *(("varying", "looping") if textured else ()))
    for kind in kinds:
        table.add_column(
            Text(kind, no_wrap=True, overflow="ellipsis"), justify="right", min_width=5, max_width=10
        )
    for one in result.summaries:
        if one.mode != BASE:
            apart = (times(one.varying), times(one.looping)) if textured else ()
            table.add_row(_name(one.mode), *apart, *(times(one.kinds.get(kind)) for kind in kinds))
    return table


def notes(result: Result) -> Iterator[str]:
    """Yield what the tables do not say: the best static gamma, loops, differences."""
    best = next((one for one in result.summaries if one.mode == result.best_static), None)
    if best is not None:
        spans = f" ({spread(best.speedup)})" if spread(best.speedup) else ""
        yield f"* best static gamma of those run: {best.mode}, {times(best.speedup)} plain{spans}"
        yield "  (picked from these noisy timings, so flattered)"
    if 0 < len(result.textures) < FEWEST:
        yield f"  {TOO_FEW}"
    varying = sum(text.varies for text in result.textures.values())
    if result.only_varying:
        yield f"  only the {varying} of {len(result.textures)} texts that vary; {_CIRCLES}"
    elif result.textures and not varying:
        yield f"  none of the {len(result.textures)} texts vary; all go round in circles, which flatters speculation"
    elif varying < len(result.textures):
        yield f"  {varying} of {len(result.textures)} texts vary; {_CIRCLES}"
    for wrong in result.different[:SHOWN_DIFFERENCES]:
        yield (
            f"  {wrong.mode} differs from {BASE} on {wrong.prompt} (repeat {wrong.repeat}) at new token "
            f"{wrong.position}: expected {wrong.expected}, found {wrong.found}"
        )
    if len(result.different) > SHOWN_DIFFERENCES:
        yield f"  and {len(result.different) - SHOWN_DIFFERENCES} more runs differ; --json lists all"


_CIRCLES = "the others go round in circles, which flatters speculation"


def render(result: Result) -> Iterator[RenderableType]:
    """Yield everything to print, in order."""
    tables = (main_table(result), kinds_table(result), backends_table(result), against_table(result))
    for table in tables:
        if table is not None:
            yield table
            yield ""
    for note in notes(result):
        yield Text(note)
