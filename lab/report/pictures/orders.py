"""Picture: the same policies when texts come in other orders, and when they start afresh with each text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.lab.report.drawing import Drawing, canvas, finish, quiet
from paceline.lab.report.palette import HUES, pen
from paceline.lab.report.pictures.labels import legend, shortened

if TYPE_CHECKING:
    from paceline.lab.report.findings import Findings

MOST_ROWS = 12
NARROWEST = 0.2
"""The least the axis spans, so that differences that do not matter look small."""

GLYPHS = {"o": "●", "D": "◆", "^": "▲", "s": "■", "v": "▼"}
HOLLOW = {"o": "○", "D": "◇", "^": "△", "s": "□", "v": "▽"}


def orders(findings: Findings) -> Drawing | None:
    """Draw a row a policy and a mark for each setting, filled where it stays warm; None with one setting only."""
    settings = findings.settings
    if len(settings) < 2:
        return None
    labels = [row.label for row in findings.rows if not row.fixed][:MOST_ROWS]
    if not labels:
        return None
    names = list(dict.fromkeys(setting.order for setting in settings))
    marks, hues = dict(zip(names, GLYPHS, strict=False)), dict(zip(names, HUES, strict=False))
    with canvas(1.0 + 0.3 * len(labels)) as figure:
        axes = figure.add_subplot()
        for place, label in enumerate(reversed(labels)):
            found = [(one, one.speedups[label].value) for one in settings if label in one.speedups]
            values = [value for _, value in found]
            axes.plot([min(values), max(values)], [place, place], color=pen("rule"), linewidth=1, zorder=1)
            for one, value in found:
                colour = pen(hues[one.order])
                axes.plot(
                    value, place, marks[one.order], color=colour, markersize=6.5, markeredgewidth=1.3,
                    markerfacecolor=colour if one.start == "warm" else pen("paper"),
                )  # fmt: skip
        entries = [
            (f"{_glyph(marks[one.order], one.start)} {one.order}, {one.start}", pen(hues[one.order]))
            for one in settings
        ]
        legend(axes, entries)
        axes.set_yticks(range(len(labels)), [shortened(label) for label in reversed(labels)])
        axes.set_ylim(-0.6, len(labels) - 0.4)
        low, high = axes.get_xlim()
        short = max(0.0, NARROWEST - (high - low)) / 2
        axes.set_xlim(low - short, high + short)
        quiet(axes, grid="x")
        axes.set_xlabel("speed-up over plain decoding")
        return finish(
            figure, "orders", "Orders, warm and cold",
            f"Marks of speed-ups of {len(labels)} policies in {len(settings)} settings: "
            + ", ".join(f"{one.order} {one.start}" for one in settings) + ".",
        )  # fmt: skip


def _glyph(mark: str, start: str) -> str:
    return GLYPHS[mark] if start == "warm" else HOLLOW[mark]
