"""Picture: acceptance by place in the proposal, with the counts it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from paceline.lab.report.drawing import Drawing, canvas, finish, quiet
from paceline.lab.report.palette import HUES, pen
from paceline.lab.report.pictures.labels import name_ends

if TYPE_CHECKING:
    from paceline.lab.report.findings import Findings, Positions

THIN = 30
"""Fewer cases than this are drawn hollow: a share of 30 has a standard error of up to 0.09."""


def _shares(one: Positions) -> list[tuple[int, float, int]]:
    pairs = enumerate(zip(one.reached, one.agreed, strict=True), start=1)
    return [(place, agreed / reached, reached) for place, (reached, agreed) in pairs if reached]


def positions(findings: Findings) -> Drawing | None:
    """Draw one line a draft above, the counts as bars below; None where nothing was ever drafted."""
    drafts = [one for one in findings.positions if any(one.reached)]
    if not drafts:
        return None
    with canvas(3.9) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.1))
        ends, told = [], []
        width = 0.8 / len(drafts)
        for number, one in enumerate(drafts):
            hue, shares = pen(HUES[number % len(HUES)]), _shares(one)
            upper.plot([x for x, _, _ in shares], [y for _, y, _ in shares], color=hue, linewidth=1.4)
            for x, y, count in shares:
                fill = hue if count >= THIN else pen("paper")
                upper.plot(x, y, "o", color=hue, markersize=5.5, markerfacecolor=fill)
            ends.append((shares[-1][0], shares[-1][1], one.draft, hue))
            lower.bar(
                [x + (number - (len(drafts) - 1) / 2) * width for x, _, _ in shares],
                [count for _, _, count in shares], width * 0.9, color=hue,
            )  # fmt: skip
            told.append(
                f"{one.draft} {shares[0][1]:.0%} at the first place, {shares[-1][1]:.0%} at place {shares[-1][0]}"
            )
        upper.set_ylim(0, 1.03)
        name_ends(upper, ends)
        upper.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        quiet(upper, grid="y")
        upper.spines["bottom"].set_visible(False)
        upper.set_title("accepted, of those whose places before were all accepted", color=pen("soft"))
        quiet(lower, grid="y")
        lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        lower.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        lower.set_title("cases", color=pen("soft"))
        lower.set_xlabel("place in the proposal")
        lower.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        lower.set_xlim(0.4, max(end[0] for end in ends) + 0.6)
        return finish(
            figure, "positions", "Acceptance by position", f"Lines of acceptance by place: {'; '.join(told)}."
        )
