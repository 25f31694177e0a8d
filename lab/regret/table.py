"""Verdicts as tables for a terminal, at most 80 columns wide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from paceline.lab.bench.table import NAME_WIDTH, spread, times
from paceline.lab.regret.verdict import ALL, VARYING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.lab.intervals import Ratio
    from paceline.lab.regret.verdict import Group, Verdict


def share(ratio: Ratio | None) -> str:
    """Write a share as `42%`, or nothing when it has no value."""
    return "" if ratio is None else f"{round(100 * ratio.value)}%"


def shares(ratio: Ratio | None) -> str:
    """Write the spread of a share as `40-45`, or nothing when it is unknown."""
    if ratio is None or ratio.low is None or ratio.high is None:
        return ""
    return f"{round(100 * ratio.low)} to {round(100 * ratio.high)}"


def headroom_table(verdicts: Sequence[Verdict], group: str = ALL) -> Table:
    """Return one row a pass that has texts of this group, the fastest first; all passes of one order and start.

    Columns: speed over plain decoding, over the best static choice in hindsight; the share captured of the time between
    plain decoding and the optimum with its interval, and of that beyond the best static choice; what is lost to the
    optimum, in thousandths of a plain step a token; tokens a round.
    """
    table = Table(title=None, box=None, pad_edge=False, header_style="bold")
    table.add_column("policy" if group == ALL else f"policy, {group} texts", max_width=NAME_WIDTH)
    headings = (
        "over\nplain",
        "90%",
        "over\nstatic",
        "cap-\ntured",
        "90%",
        "beyond\nstatic",
        "lost\nm/token",
        "tok/\nround",
    )
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    listed = [(one, one.groups[group]) for one in verdicts if group in one.groups]
    for one, found in sorted(listed, key=lambda pair: pair[1].regret_s):
        table.add_row(Text(one.label, no_wrap=True, overflow="ellipsis"), *_cells(found))
    if listed:
        best = listed[0][1]
        name = "optimum" if best.exact else "bound"
        table.add_row(
            name, times(best.oracle), spread(best.oracle), "", "100%", "", "100%", "0", "", style="dim"
        )
    return table


def _cells(found: Group) -> tuple[str, ...]:
    return (
        times(found.speedup),
        spread(found.speedup),
        times(found.over_static),
        share(found.captured),
        shares(found.captured),
        share(found.captured_static),
        f"{round(1000 * found.regret_s / found.plain_s)}",
        f"{found.accepted_tokens:.2f}",
    )


def groups(verdicts: Sequence[Verdict]) -> list[str]:
    """Return the groups there are tables for: all texts, and those that vary."""
    return [name for name in (ALL, VARYING) if any(name in one.groups for one in verdicts)]
