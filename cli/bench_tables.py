"""The tables of `paceline bench`, and sentences on what they do not say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from paceline.cli._render import Cell, Table, number, share, spread, times
from paceline.lab.bench.summary import BASE
from paceline.lab.stats import FEWEST, TOO_FEW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paceline.lab.bench.summary import Result, Summary

SHOWN_DIFFERENCES = 5
_CIRCLES = "the others go round in circles, which flatters speculation"


def tables(result: Result) -> Iterator[Table]:
    """Yield the tables: every mode, then what is compared, where there is something to compare."""
    yield _main_table(result)
    for table in (_kinds_table(result), _backends_table(result), _against_table(result)):
        if table is not None:
            yield table


def _main_table(result: Result) -> Table:
    """Return the table with one row a mode."""
    table = Table(
        ("mode", "tok/s", "speed-up", "90%", "accepted", "tok/\nround", "gamma", "over-\nhead", "same")
    )
    for summary in result.summaries:
        best = summary.mode == result.best_static
        table.add(
            f"{summary.mode} *" if best else summary.mode,
            f"{summary.tokens_per_second:.1f}",
            times(summary.speedup),
            spread(summary.speedup) if summary.mode != BASE else "",
            share(summary.acceptance),
            number(summary.tokens_per_round, 2),
            number(summary.gamma, 1),
            share(summary.overhead),
            _same(summary, compared=result.compared),
            style="bold" if best else None,
        )
    return table


def _same(summary: Summary, *, compared: bool) -> Cell:
    if not compared:
        return "sampled"
    if summary.differing is None:
        return ""
    return Text(f"{summary.differing} differ", style="red") if summary.differing else "yes"


def _against_table(result: Result) -> Table | None:
    """Return every mode against the best static gamma of those run, and against the library, the fastest first."""
    best, reference = result.best_static, result.reference
    if best is None and reference is None:
        return None
    headings = ([f"over\n{best} *", "90%"] if best else []) + ([f"over\n{reference}"] if reference else [])
    table = Table(("compared", *headings))
    for summary in sorted(result.summaries, key=lambda summary: -summary.tokens_per_second):
        over = result.over_best_static.get(summary.mode)
        cells = [times(over), spread(over)] if best else []
        table.add(summary.mode, *cells, *([times(summary.over_reference)] if reference else []))
    return table


def _backends_table(result: Result) -> Table | None:
    """Return the modes on further backends against the same modes on the first, where there are such."""
    if not result.over_twin:
        return None
    table = Table(("backends compared", "over the\nfirst", "90%"))
    for mode, ratio in result.over_twin.items():
        table.add(mode, times(ratio), spread(ratio))
    return table


def _kinds_table(result: Result) -> Table | None:
    """Return the speed-ups by what the texts are like and by kind of prompt, or None when all are alike."""
    kinds = list(dict.fromkeys(kind for summary in result.summaries for kind in summary.kinds))
    textured = any(summary.varying for summary in result.summaries) and any(
        summary.looping for summary in result.summaries
    )
    if len(kinds) < 2:
        kinds = []
    if not kinds and not textured:
        return None
    table = Table(("speed-up by text", *(("varying", "looping") if textured else ()), *kinds))
    for summary in result.summaries:
        if summary.mode != BASE:
            apart = (times(summary.varying), times(summary.looping)) if textured else ()
            table.add(summary.mode, *apart, *(times(summary.kinds.get(kind)) for kind in kinds))
    return table


def notes(result: Result) -> Iterator[str]:
    """Yield what the tables do not say: the best static gamma, loops, differences."""
    best = next((summary for summary in result.summaries if summary.mode == result.best_static), None)
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
