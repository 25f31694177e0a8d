"""Picture: where the time of a round goes, as time a token against plain decoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.lab.report.drawing import Drawing, canvas, finish, quiet
from paceline.lab.report.palette import pen
from paceline.lab.report.pictures.choice import shown
from paceline.lab.report.pictures.labels import legend, shortened

if TYPE_CHECKING:
    from paceline.lab.report.findings import Findings

PARTS = (
    ("draft", "drafting", "blue"),
    ("verify", "verifying", "gold"),
    ("score", "scoring", "purple"),
    ("loop", "loop", "soft"),
)


def shares(findings: Findings) -> Drawing:
    """Draw one bar a policy, as long as its time a token, split into the parts of a round."""
    rows = shown(findings)
    unit = findings.row(findings.plain).shares.total
    parts = [part for part in PARTS if any(getattr(row.shares, part[0]) > 0.0 for row in rows)]
    with canvas(1.0 + 0.25 * len(rows)) as figure:
        axes = figure.add_subplot()
        for place, row in enumerate(reversed(rows)):
            left = 0.0
            for key, _, role in parts:
                length = getattr(row.shares, key) / unit
                axes.barh(
                    place, length, left=left, height=0.66, color=pen(role), edgecolor=pen("paper"), linewidth=0.7
                )  # fmt: skip
                left += length
        axes.set_yticks(range(len(rows)), [shortened(row.label) for row in reversed(rows)])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        quiet(axes, grid="x")
        axes.axvline(1.0, color=pen("soft"), linewidth=0.8)
        axes.set_xlabel("time a token, in plain steps")
        legend(axes, [(f"■ {name}", pen(role)) for _, name, role in parts])
        first = rows[0].shares
        return finish(
            figure, "shares", "Where the time goes",
            f"Bars of time a token. {rows[0].label}: {first.draft / first.total:.0%} drafting, "
            f"{first.verify / first.total:.0%} verifying, {(first.score + first.loop) / first.total:.0%} the rest.",
        )  # fmt: skip
