"""Picture: what the pieces of a round take, by the number of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.lab.report.drawing import Drawing, canvas, finish, quiet
from paceline.lab.report.palette import HUES, pen
from paceline.lab.report.pictures.labels import name_ends

if TYPE_CHECKING:
    from paceline.lab.report.findings import Findings


def costs(findings: Findings) -> Drawing | None:
    """Draw verification by block length and drafting by gamma; None without a latency profile."""
    prices = findings.prices
    if prices is None:
        return None
    lines = [("verify a block", pen("gold"), [*sorted(prices.verify.items())])]
    hues = [hue for hue in HUES if hue != "gold"]
    for number, (draft, times) in enumerate(prices.draft.items()):
        lines.append((f"draft, {draft}", pen(hues[number % len(hues)]), [*sorted(times.items())]))
    with canvas(3.2) as figure:
        axes = figure.add_subplot()
        top = 1.08e3 * max(seconds for _, _, points in lines for _, seconds in points)
        axes.set_ylim(0, top)
        ends = []
        for name, colour, points in lines:
            axes.plot(
                [x for x, _ in points], [1e3 * y for _, y in points], "o-", color=colour,
                markersize=4, linewidth=1.5,
            )  # fmt: skip
            ends.append((points[-1][0], 1e3 * points[-1][1], name, colour))
        axes.set_xlim(left=0)
        name_ends(axes, ends)
        quiet(axes, grid="y")
        axes.set_title("milliseconds", color=pen("soft"))
        axes.set_xlabel("tokens in the block, or drafted")
        block = sorted(prices.verify)
        return finish(
            figure, "costs", "What a round is made of",
            f"Lines of milliseconds by tokens; verifying takes {1e3 * prices.verify[block[0]]:.2f} ms for "
            f"{block[0]} and {1e3 * prices.verify[block[-1]]:.2f} ms for {block[-1]}.",
        )  # fmt: skip
