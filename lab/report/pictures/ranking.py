"""Picture: every policy's speed-up over plain decoding, with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.lab.report.drawing import Drawing, canvas, finish, quiet
from paceline.lab.report.palette import pen
from paceline.lab.report.pictures.choice import shown
from paceline.lab.report.pictures.labels import shortened

if TYPE_CHECKING:
    from paceline.lab.report.findings import Findings


def ranking(findings: Findings) -> Drawing:
    """Draw the ranking."""
    rows = shown(findings)
    with canvas(0.9 + 0.27 * len(rows)) as figure:
        axes = figure.add_subplot()
        for place, row in enumerate(reversed(rows)):
            colour = pen("soft") if row.fixed else pen("blue")
            speed = row.speedup
            if speed.low is not None and speed.high is not None:
                axes.plot([speed.low, speed.high], [place, place], color=colour, linewidth=1.6)
            axes.plot(
                speed.value, place, "s" if row.fixed else "o", color=colour, markersize=6.0,
                markerfacecolor=pen("paper") if row.fixed else colour, markeredgewidth=1.4,
            )  # fmt: skip
            axes.annotate(
                f"{speed.value:.2f}×", (speed.high or speed.value, place), xytext=(8, 0),
                textcoords="offset points", va="center", fontsize=10, color=pen("ink"),
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), [shortened(row.label) for row in reversed(rows)])
        axes.set_ylim(-0.7, len(rows) + 0.1)
        quiet(axes, grid="x")
        axes.axvline(1.0, color=pen("soft"), linewidth=0.8, zorder=0)
        lines = [(1.0, "plain decoding", "soft")]
        if findings.oracle is not None:
            axes.axvline(findings.oracle, color=pen("orange"), linewidth=1.2, zorder=0)
            lines.append((findings.oracle, f"oracle {findings.oracle:.2f}×", "orange"))
        for x, name, role in lines:
            axes.annotate(
                name, (x, len(rows) - 0.35), xytext=(4, 0), textcoords="offset points",
                color=pen(role), fontsize=10, va="center",
            )  # fmt: skip
        low, high = axes.get_xlim()
        axes.set_xlim(low, high + 0.12 * (high - low))
        axes.set_xlabel("speed-up over plain decoding")
        first = rows[0]
        return finish(
            figure,
            "ranking",
            "Ranking",
            f"Dots with whiskers: speed-ups over plain decoding of {len(rows)} policies, from {first.label} at "
            f"{first.speedup.value:.2f} times down to {rows[-1].label} at {rows[-1].speedup.value:.2f} times.",
        )
