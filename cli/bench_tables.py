"""The tables of `paceline bench`, and sentences on what they do not say."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text

from paceline.cli._render import Cell, Column, Table, number
from paceline.lab.bench.run import BASE
from paceline.lab.stats import FEWEST, TOO_FEW, interval, share, times

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from paceline.lab.bench.summary import Summary

SHOWN_DIFFERENCES = 5
CIRCLES = "the others go round in circles, which flatters speculation"


def tables(summary: Summary) -> list[Table]:
    """Return the tables of a bench, those that have something to tell."""
    listed = (main_table(summary), kinds_table(summary), backends_table(summary), against_table(summary))
    return [table for table in listed if table is not None]


def main_table(summary: Summary) -> Table:
    """Return the table with one row a mode."""
    best = summary.best_static

    def starred(mode: str) -> str:
        return f"{mode} *" if best is not None and mode == best.policy else mode

    table = Table(
        (
            Column("mode", starred),
            Column("tok/s", partial(number, digits=1)),
            Column("speed-up", times, interval),
            Column("accepted", share),
            Column("tok/\nround", partial(number, digits=2)),
            Column("gamma", partial(number, digits=1)),
            Column("over-\nhead", share),
            "same",
        )
    )
    for row in summary.rows:
        ours = row.totals.rounds > 0
        table.add(
            row.policy,
            row.all.tokens_per_second,
            row.all.speedup,
            row.acceptance,
            row.totals.tokens_per_round if ours else None,
            row.totals.gamma if ours else None,
            row.totals.overhead if ours else None,
            _same(summary, row.policy),
            style="bold" if row is best else None,
        )
    return table


def _same(summary: Summary, mode: str) -> Cell:
    differing = summary.differing(mode)
    if differing is None:
        return "sampled"
    return Text(f"{differing} differ", style="red") if differing else "yes"


def against_table(summary: Summary) -> Table | None:
    """Return every mode against the best static gamma of those run, and against the library, the fastest first."""
    best, reference = summary.best_static, summary.reference
    if summary.comparison is None or (best is None and reference is None):
        return None
    over_best = [Column(f"over\n{best.policy} *", times, interval)] if best is not None else []
    over_reference = [Column(f"over\n{reference}", times)] if reference else []
    table = Table(("compared", *over_best, *over_reference))
    for row in summary.comparison.ranked:
        over = summary.over(row.policy, best.policy) if best is not None and row is not best else None
        ratios = [over] if best is not None else []
        table.add(row.policy, *ratios, *([summary.over(row.policy, reference)] if reference else []))
    return table


def backends_table(summary: Summary) -> Table | None:
    """Return the modes on further backends against the same modes on the first, where there are such."""
    over = summary.over_twin()
    if not over:
        return None
    table = Table(("backends compared", Column("over the\nfirst", times, interval)))
    for mode, ratio in over.items():
        table.add(mode, ratio)
    return table


def kinds_table(summary: Summary) -> Table | None:
    """Return the speed-ups by what the texts are like and by kind of prompt, or None when all are alike."""
    kinds = list(dict.fromkeys(kind for row in summary.rows for kind in row.kinds))
    textured = {"varying", "looping"} <= {group for row in summary.rows for group in row.groups}
    kinds = kinds if len(kinds) > 1 else []
    if not kinds and not textured:
        return None
    groups = ("varying", "looping") if textured else ()
    table = Table(("speed-up by text", *(Column(name, times) for name in (*groups, *kinds))))
    for row in summary.rows:
        if row.policy != BASE:
            figures = [row.groups.get(group) for group in groups] + [row.kinds.get(kind) for kind in kinds]
            table.add(row.policy, *(group.speedup if group is not None else None for group in figures))
    return table


def batch_table(summaries: Mapping[int, Summary]) -> Table:
    """Return every mode against plain decoding of as many prompts at once, by their number."""
    modes = list(dict.fromkeys(row.policy for each in summaries.values() for row in each.rows))
    columns = [
        column
        for rows in summaries
        for column in (
            Column(f"{rows} at once\ntok/s", partial(number, digits=1)),
            Column("speed-\nup", times, name=f"speed-up of {rows}"),
            Column("tok/\nround", partial(number, digits=2), name=f"tok/round of {rows}"),
        )
    ]
    table = Table(("mode", *columns))
    for mode in modes:
        cells: list[object] = []
        for each in summaries.values():
            row = (
                each.comparison.row(mode) if each.comparison is not None and mode not in each.failed else None
            )
            cells += (
                [None, None, None]
                if row is None
                else [row.all.tokens_per_second, row.all.speedup, row.totals.tokens_per_round]
            )
        table.add(mode, *cells)
    return table


def batch_notes(summaries: Mapping[int, Summary]) -> Iterator[str]:
    """Yield what the table of batches does not say: a machine that is shared, and outputs that differ."""
    for rows, summary in summaries.items():
        if summary.shared:
            yield f"{rows} at once:"
            yield from _busy(summary)
        for wrong in summary.different[:SHOWN_DIFFERENCES]:
            yield (
                f"  {wrong.mode} differs from {BASE} on {wrong.prompt} (repeat {wrong.repeat}) at token "
                f"{wrong.position} of all"
            )


def _busy(summary: Summary) -> Iterator[str]:
    """Yield what a machine that others use as well has to do with the figures."""
    taken = f"for {share(summary.waiting)} of the time this process waited for a core"
    if (summary.waiting or 0.0) < summary.stolen:
        taken = f"its hypervisor gave {share(summary.stolen)} of the time to other machines"
    yield f"! the machine was shared: {taken}"
    if summary.clock == "cpu":
        yield "  so all times and rates are in seconds of the processor, not of the clock on the wall"
    else:
        yield "  all times are of the clock on the wall: run again when it is quiet before you believe them"


def notes(summary: Summary) -> Iterator[str]:
    """Yield what the tables do not say: the best static gamma, loops, differences."""
    best, repetitions = summary.best_static, summary.repetitions
    if summary.shared:
        yield from _busy(summary)
    if best is not None:
        spans = f" ({interval(best.all.speedup)})" if interval(best.all.speedup) else ""
        yield f"* best static gamma of those run: {best.policy}, {times(best.all.speedup)} plain{spans}"
        yield "  (picked from these noisy timings, so flattered)"
    if 0 < len(repetitions) < FEWEST:
        yield f"  {TOO_FEW}"
    varying = sum(text.varies for text in repetitions.values())
    if summary.only_varying:
        yield f"  only the {varying} of {len(repetitions)} texts that vary; {CIRCLES}"
    elif repetitions and not varying:
        yield f"  none of the {len(repetitions)} texts vary; all go round in circles, which flatters speculation"
    elif varying < len(repetitions):
        yield f"  {varying} of {len(repetitions)} texts vary; {CIRCLES}"
    for wrong in summary.different[:SHOWN_DIFFERENCES]:
        yield (
            f"  {wrong.mode} differs from {BASE} on {wrong.prompt} (repeat {wrong.repeat}) at new token "
            f"{wrong.position}: expected {wrong.expected}, found {wrong.actual}"
        )
    if len(summary.different) > SHOWN_DIFFERENCES:
        yield f"  and {len(summary.different) - SHOWN_DIFFERENCES} more runs differ; --json lists all"
