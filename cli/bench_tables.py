"""The tables of `paceline bench`, and sentences on what they do not say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from paceline.cli._render import Cell, Table, number, share, spread, times
from paceline.lab.bench.run import BASE
from paceline.lab.stats import FEWEST, TOO_FEW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paceline.lab.bench.summary import Summary
    from paceline.lab.figures import Row

SHOWN_DIFFERENCES = 5
CIRCLES = "the others go round in circles, which flatters speculation"


def tables(summary: Summary) -> list[Table]:
    """Return the tables of a bench, those that have something to tell."""
    listed = (main_table(summary), kinds_table(summary), backends_table(summary), against_table(summary))
    return [table for table in listed if table is not None]


def main_table(summary: Summary) -> Table:
    """Return the table with one row a mode."""
    headings = ("tok/s", "speed-up", "90%", "accepted", "tok/\nround", "gamma", "over-\nhead", "same")
    table, best = Table(("mode", *headings)), summary.best_static
    for row in summary.rows:
        ours = row.totals.rounds > 0
        table.add(
            _starred(row, best),
            f"{row.all.tokens_per_second:.1f}",
            times(row.all.speedup),
            spread(row.all.speedup) if row.policy != BASE else "",
            share(row.acceptance),
            number(row.totals.tokens_per_round if ours else None, 2),
            number(row.totals.gamma if ours else None, 1),
            share(row.totals.overhead if ours else None),
            _same(summary, row.policy),
            style="bold" if row is best else None,
        )
    return table


def _starred(row: Row, best: Row | None) -> str:
    return f"{row.policy} *" if row is best else row.policy


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
    over_best = (f"over\n{best.policy} *", "90%") if best is not None else ()
    table = Table(("compared", *over_best, *((f"over\n{reference}",) if reference else ())))
    for row in summary.comparison.ranked:
        over = summary.over(row.policy, best.policy) if best is not None and row is not best else None
        cells = (times(over), spread(over)) if best is not None else ()
        table.add(row.policy, *cells, *((times(summary.over(row.policy, reference)),) if reference else ()))
    return table


def backends_table(summary: Summary) -> Table | None:
    """Return the modes on further backends against the same modes on the first, where there are such."""
    over = summary.over_twin()
    if not over:
        return None
    table = Table(("backends compared", "over the\nfirst", "90%"))
    for mode, ratio in over.items():
        table.add(mode, times(ratio), spread(ratio))
    return table


def kinds_table(summary: Summary) -> Table | None:
    """Return the speed-ups by what the texts are like and by kind of prompt, or None when all are alike."""
    kinds = list(dict.fromkeys(kind for row in summary.rows for kind in row.kinds))
    textured = {"varying", "looping"} <= {group for row in summary.rows for group in row.groups}
    kinds = kinds if len(kinds) > 1 else []
    if not kinds and not textured:
        return None
    groups = ("varying", "looping") if textured else ()
    table = Table(("speed-up by text", *groups, *kinds))
    for row in summary.rows:
        if row.policy != BASE:
            figures = [row.groups.get(group) for group in groups] + [row.kinds.get(kind) for kind in kinds]
            table.add(row.policy, *(times(group.speedup) if group is not None else "" for group in figures))
    return table


def notes(summary: Summary) -> Iterator[str]:
    """Yield what the tables do not say: the best static gamma, loops, differences."""
    best, repetitions = summary.best_static, summary.repetitions
    if best is not None:
        spans = f" ({spread(best.all.speedup)})" if spread(best.all.speedup) else ""
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
