"""The bench as tables for a terminal, at most 100 columns wide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from paceline.lab.bench.summary import BASE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from paceline.lab.bench.stats import Ratio
    from paceline.lab.bench.summary import Result, Summary

SHOWN_DIFFERENCES = 5


def times(ratio: Ratio | None) -> str:
    """Write a ratio as `1.72x`, or nothing when it is unknown."""
    return "" if ratio is None else f"{ratio.value:.2f}x"


def spread(ratio: Ratio | None) -> str:
    """Write the spread of a ratio as `1.6-1.8`, or nothing when it is unknown."""
    return "" if ratio is None or ratio.low is None else f"{ratio.low:.2f}-{ratio.high:.2f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}%"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _same(summary: Summary) -> Text:
    if summary.differing is None:
        return Text("")
    return Text(f"{summary.differing} differ", style="red") if summary.differing else Text("yes")


def main_table(result: Result) -> Table:
    """Return the table with one row a mode."""
    table = Table(title=None, box=None, pad_edge=False, header_style="bold")
    table.add_column("mode", no_wrap=True)
    headings = ("tok/s", "speed-up", "90%", "accepted", "tok/round", "gamma", "overhead", "same")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for one in result.summaries:
        best = one.mode == result.best_static
        table.add_row(
            f"{one.mode} *" if best else one.mode,
            f"{one.tokens_per_second:.1f}",
            times(one.speedup),
            spread(one.speedup) if one.mode != BASE else "",
            _share(one.acceptance),
            _number(one.tokens_per_round, 2),
            _number(one.gamma, 1),
            _share(one.overhead),
            _same(one),
            style="bold" if best else None,
        )
    return table


def kinds_table(result: Result) -> Table | None:
    """Return the speed-ups by kind of prompt, or None when there is one kind only."""
    kinds = list(dict.fromkeys(kind for one in result.summaries for kind in one.kinds))
    if len(kinds) < 2:
        return None
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("speed-up by kind", no_wrap=True)
    for kind in kinds:
        table.add_column(kind, justify="right", overflow="ellipsis", max_width=12)
    for one in result.summaries:
        if one.mode != BASE:
            table.add_row(one.mode, *(times(one.kinds.get(kind)) for kind in kinds))
    return table


def notes(result: Result) -> Iterator[str]:
    """Yield what the tables do not say: comparisons with the best static gamma, references, differences."""
    if result.best_static is not None:
        yield f"* best static gamma in hindsight: {result.best_static} (picked from these noisy timings, so flattered)"
        for mode, ratio in result.over_best_static.items():
            yield f"  {mode} against it: {times(ratio)} {f'({spread(ratio)})' if spread(ratio) else ''}".rstrip()
    against = [f"{one.mode} {times(one.over_reference)}" for one in result.summaries if one.over_reference]
    if against:
        yield f"  against {result.reference}: {', '.join(against)}"
    for wrong in result.different[:SHOWN_DIFFERENCES]:
        yield (
            f"  {wrong.mode} differs from {BASE} on {wrong.prompt} (repeat {wrong.repeat}) at new token "
            f"{wrong.position}: expected {wrong.expected}, found {wrong.found}"
        )
    if len(result.different) > SHOWN_DIFFERENCES:
        yield f"  and {len(result.different) - SHOWN_DIFFERENCES} more runs differ; --json lists all"


def render(result: Result) -> Iterator[RenderableType]:
    """Yield everything to print, in order."""
    yield main_table(result)
    by_kind = kinds_table(result)
    if by_kind is not None:
        yield ""
        yield by_kind
    yield ""
    for note in notes(result):
        yield Text(note)
