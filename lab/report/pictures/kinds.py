"""Picture: speed-up on each kind of text, of the few policies that matter most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.lab.report.drawing import Drawing, canvas, finish, quiet
from paceline.lab.report.palette import HUES, pen
from paceline.lab.report.pictures.labels import legend, shortened

if TYPE_CHECKING:
    from paceline.lab.report.findings import Findings

NAMED = 3
MARKS = ("o", "D", "^")


def kinds(findings: Findings) -> Drawing | None:
    """Draw a row of marks for each kind; None where all texts are of one kind."""
    listed = findings.kinds
    if len(listed) < 2:
        return None
    adaptive = [row.label for row in findings.rows if not row.fixed][:NAMED]
    with canvas(0.95 + 0.34 * len(listed)) as figure:
        axes = figure.add_subplot()
        for place, kind in enumerate(reversed(listed)):
            values = [kind.speedups[label].value for label in adaptive if label in kind.speedups]
            fixed = kind.best_static
            if fixed is not None:
                values.append(fixed.value)
                axes.plot(fixed.value, place, "|", color=pen("ink"), markersize=15, markeredgewidth=2)
            if kind.oracle is not None:
                values.append(kind.oracle)
                axes.plot(kind.oracle, place, "|", color=pen("orange"), markersize=15, markeredgewidth=2)
            if values:
                axes.plot(
                    [min(values), max(values)], [place, place], color=pen("rule"), linewidth=1, zorder=1
                )
            for number, label in reversed([*enumerate(adaptive)]):
                if label in kind.speedups:
                    axes.plot(
                        kind.speedups[label].value,
                        place,
                        MARKS[number],
                        color=_hue(number),
                        markersize=7 - number,
                    )
        entries = [
            (f"{'●◆▲'[number]} {shortened(label)}", _hue(number)) for number, label in enumerate(adaptive)
        ]
        if findings.best_static is not None:
            entries.append((f"┃ {shortened(findings.best_static)}", pen("ink")))
        if listed[0].oracle is not None:
            entries.append(("┃ oracle", pen("orange")))
        legend(axes, entries)
        axes.set_yticks(
            range(len(listed)), [f"{shortened(kind.kind)} ({kind.texts})" for kind in reversed(listed)]
        )
        axes.set_ylim(-0.6, len(listed) - 0.4)
        axes.axvline(1.0, color=pen("soft"), linewidth=0.8, zorder=0)
        quiet(axes, grid="x")
        axes.set_xlabel("speed-up over plain decoding")
        return finish(
            figure, "kinds", "Kinds of text",
            "Marks of speed-ups by kind: " + "; ".join(
                f"{kind.kind} {kind.speedups[adaptive[0]].value:.2f} times under {adaptive[0]}"
                for kind in listed if adaptive and adaptive[0] in kind.speedups
            ) + ".",
        )  # fmt: skip


def _hue(number: int) -> str:
    return pen([hue for hue in HUES if hue != "orange"][number])
