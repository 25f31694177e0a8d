"""Picture: time lost against the oracle, summed up over the tokens of all texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.lab.report.drawing import Drawing, canvas, finish, quiet
from paceline.lab.report.palette import HUES, pen
from paceline.lab.report.pictures.labels import name_ends

if TYPE_CHECKING:
    from paceline.lab.report.findings import Curve, Findings

NAMED = 5
HEIGHT = 3.9


def _named(findings: Findings) -> list[Curve]:
    """Return the curves that get a colour: those of the fastest that adapt."""
    by_label = {curve.label: curve for curve in findings.curves}
    adaptive = [row.label for row in findings.rows if not row.fixed and row.label in by_label]
    return [by_label[label] for label in adaptive[:NAMED]]


def regret(findings: Findings) -> Drawing | None:
    """Draw the curves; None without an oracle. Plain decoding is left out: beside it the others would be flat."""
    curves = [curve for curve in findings.curves if curve.label != findings.plain]
    if not curves:
        return None
    named = _named(findings)
    best_static = next((curve for curve in curves if curve.label == findings.best_static), None)
    with canvas(HEIGHT) as figure:
        axes = figure.add_subplot()
        # Those much slower leave the picture at its top: what matters is how the best differ.
        seen = [*named, *([best_static] if best_static else [])] or curves
        ceiling = 1.2 * max(curve.lost[-1] for curve in seen)
        for curve in curves:
            axes.plot(curve.tokens, curve.lost, color=pen("rule"), linewidth=0.9, zorder=1)
        ends: list[tuple[float, str, str]] = []
        for curve, hue in zip(named, HUES, strict=False):
            axes.plot(curve.tokens, curve.lost, color=pen(hue), linewidth=1.7, zorder=3)
            ends.append((curve.lost[-1], curve.label, hue))
        if best_static is not None:
            axes.plot(
                best_static.tokens, best_static.lost, color=pen("ink"), linewidth=1.5, dashes=(4, 2), zorder=4
            )
            ends.append((best_static.lost[-1], best_static.label, "ink"))
        axes.set_ylim(0, ceiling)
        last = curves[0].tokens[-1]
        axes.set_xlim(0, last)
        name_ends(axes, [(last, end, label, pen(hue)) for end, label, hue in ends])
        quiet(axes, grid="y")
        axes.set_xlabel("tokens written, over all texts")
        axes.set_title("plain steps lost against the oracle", color=pen("soft"))
        listed = ", ".join(f"{label} {end:.0f}" for end, label, _ in sorted(ends))
        return finish(
            figure, "regret", "Time lost against the oracle",
            f"Rising curves; plain steps lost after all {last} tokens: {listed}.",
        )  # fmt: skip
