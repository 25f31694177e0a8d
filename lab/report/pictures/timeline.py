"""Picture: rounds of a few texts, what was planned and what was accepted, against the oracle's choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle

from paceline.lab.report.drawing import Drawing, canvas, finish
from paceline.lab.report.palette import pen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from paceline.lab.report.findings import Findings, Step

GAP = 0.25
"""White between two rounds, in tokens."""


def _lane(axes: Axes, steps: Sequence[Step], *, name: str, role: str, top: int) -> None:
    planned = [Rectangle((one.position, 0), one.emitted - GAP, one.gamma) for one in steps if one.gamma]
    accepted = [
        Rectangle((one.position, 0), one.emitted - GAP, one.accepted) for one in steps if one.accepted
    ]
    plain = [Rectangle((one.position, 0), one.emitted - GAP, 0.02 * top) for one in steps if not one.gamma]
    axes.add_collection(PatchCollection(planned, facecolor=pen("wash"), edgecolor="none"))
    axes.add_collection(PatchCollection(accepted, facecolor=pen(role), edgecolor="none"))
    axes.add_collection(PatchCollection(plain, facecolor=pen("soft"), edgecolor="none"))
    axes.set_ylim(0, top * 1.05)
    axes.spines["left"].set_visible(False)
    axes.tick_params(length=0)
    axes.set_yticks([0, top])
    axes.set_ylabel(name, rotation=0, ha="right", va="center", color=pen(role))


def timeline(findings: Findings) -> Drawing | None:
    """Draw two lanes for each text: the policy above, the oracle below; None where there are no texts to show."""
    shown = findings.timelines
    if not shown:
        return None
    policy = findings.timeline_policy or findings.best
    with canvas(0.5 + 1.95 * len(shown)) as figure:
        panels = figure.subfigures(len(shown), 1, squeeze=False)[:, 0]
        for panel, one in zip(panels, shown, strict=True):
            panel.set_facecolor("none")
            lanes = panel.subplots(2, 1, sharex=True)
            top = max(step.gamma for step in (*one.policy, *one.oracle, one.policy[0])) or 1
            _lane(lanes[0], one.policy, name=policy, role="blue", top=top)
            _lane(lanes[1], one.oracle, name="oracle", role="orange", top=top)
            end = one.policy[-1].position + one.policy[-1].emitted
            lanes[1].set_xlim(0, end)
            lanes[0].spines["bottom"].set_color(pen("rule"))
            lanes[0].set_title(f"{one.text} ({one.kind}): {one.slower:.2f}× the oracle's time", fontsize=11)
        lanes[1].set_xlabel("tokens written")
        listed = "; ".join(
            f"{one.text}: {len(one.policy)} rounds, the oracle {len(one.oracle)}" for one in shown
        )
        return finish(
            figure, "timeline", "Round by round",
            f"For each text a row of bars under {policy} and one under the oracle. {listed}.",
        )  # fmt: skip
