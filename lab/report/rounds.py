"""Pictures of single rounds: what was planned and accepted on a few texts, and acceptance by place in the proposal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from paceline.lab.report.drawing import HUES, name_ends, pen, quiet
from paceline.lab.stats import times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

    from paceline.lab.report.build import Positions, Report
    from paceline.lab.report.timelines import Step

GAP = 0.25
"""White between two rounds, in tokens."""


def _lane(axes: Axes, steps: Sequence[Step], *, name: str, role: str, top: int) -> None:
    planned = [Rectangle((step.position, 0), step.emitted - GAP, step.gamma) for step in steps if step.gamma]
    accepted = [
        Rectangle((step.position, 0), step.emitted - GAP, step.accepted) for step in steps if step.accepted
    ]
    plain = [
        Rectangle((step.position, 0), step.emitted - GAP, 0.02 * top) for step in steps if not step.gamma
    ]
    axes.add_collection(PatchCollection(planned, facecolor=pen("wash"), edgecolor="none"))
    axes.add_collection(PatchCollection(accepted, facecolor=pen(role), edgecolor="none"))
    axes.add_collection(PatchCollection(plain, facecolor=pen("soft"), edgecolor="none"))
    axes.set_ylim(0, top * 1.05)
    axes.spines["left"].set_visible(False)
    axes.tick_params(length=0)
    axes.set_yticks([0, top])
    axes.set_ylabel(name, rotation=0, ha="right", va="center", color=pen(role))


def timeline(report: Report, figure: FigureBase) -> str | None:
    """Draw two lanes for each text: the policy above, the oracle below; None where there are no texts to show."""
    shown = report.timelines
    if not shown:
        return None
    policy = report.timeline_policy
    panels = figure.subfigures(len(shown), 1, squeeze=False)[:, 0]
    for panel, timeline in zip(panels, shown, strict=True):
        panel.set_facecolor("none")
        lanes = panel.subplots(2, 1, sharex=True)
        top = max(step.gamma for step in (*timeline.policy, *timeline.oracle, timeline.policy[0])) or 1
        _lane(lanes[0], timeline.policy, name=policy, role="blue", top=top)
        _lane(lanes[1], timeline.oracle, name="oracle", role="orange", top=top)
        end = timeline.policy[-1].position + timeline.policy[-1].emitted
        lanes[1].set_xlim(0, end)
        lanes[0].spines["bottom"].set_color(pen("rule"))
        title = f"{timeline.text} ({timeline.kind}): {times(timeline.slower)} the oracle's time"
        lanes[0].set_title(title, fontsize=11)
    lanes[1].set_xlabel("tokens written")
    listed = "; ".join(
        f"{timeline.text}: {len(timeline.policy)} rounds, the oracle {len(timeline.oracle)}"
        for timeline in shown
    )
    return f"For each text a row of bars under {policy} and one under the oracle. {listed}."


THIN = 30
"""Fewer cases than this are drawn hollow: a share of 30 has a standard error of up to 0.09."""


def _accepted_shares(positions: Positions) -> list[tuple[int, float, int]]:
    pairs = enumerate(zip(positions.reached, positions.agreed, strict=True), start=1)
    return [(place, agreed / reached, reached) for place, (reached, agreed) in pairs if reached]


def positions(report: Report, figure: FigureBase) -> str | None:
    """Draw one line a draft above, the counts as bars below; None where nothing was ever drafted."""
    drafts = [positions for positions in report.positions if any(positions.reached)]
    if not drafts:
        return None
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.1))
    ends, labels = [], []
    width = 0.8 / len(drafts)
    for number, positions in enumerate(drafts):
        hue, shares = pen(HUES[number % len(HUES)]), _accepted_shares(positions)
        upper.plot([x for x, _, _ in shares], [y for _, y, _ in shares], color=hue, linewidth=1.4)
        for x, y, count in shares:
            fill = hue if count >= THIN else pen("paper")
            upper.plot(x, y, "o", color=hue, markersize=5.5, markerfacecolor=fill)
        ends.append((shares[-1][0], shares[-1][1], positions.draft, hue))
        lower.bar(
            [x + (number - (len(drafts) - 1) / 2) * width for x, _, _ in shares],
            [count for _, _, count in shares], width * 0.9, color=hue,
        )  # fmt: skip
        labels.append(
            f"{positions.draft} {shares[0][1]:.0%} at the first place, {shares[-1][1]:.0%} at place {shares[-1][0]}"
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
    return f"Lines of acceptance by place: {'; '.join(labels)}."
