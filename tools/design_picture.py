"""Draws one round through the rooms, for docs/design.md: `python -I tools design_picture [SVG]`.

Rooms are lanes, time runs to the right. One line follows a token from the draft to the screen, the other a decision
from the policy to what the policy learns of it. A `.png` can be named as well, to look at.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

PAGE = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "design.svg"
LANES = {"cli/": 3, "core/": 2, "policies/": 1, "backends/": 0}
TINTS = {"cli/": "#f3f0e8", "core/": "#e9eef5", "policies/": "#f8eee6", "backends/": "#e9f3ec"}
INK, TOKEN, DECISION, ALSO = "#222222", "#1f5fa8", "#b8520a", "#777777"
WIDE, HIGH = 1.46, 0.52


@dataclass(frozen=True, slots=True)
class Box:
    """A step of the round: its room, its place in time, what happens, and by what name it is found."""

    lane: str
    x: float
    does: str
    name: str

    @property
    def y(self) -> float:
        """The middle of its lane."""
        return LANES[self.lane] + 0.5


BOXES = {
    "generate": Box("cli/", 0.95, "prompt and options", "1  generate"),
    "start": Box("core/", 0.95, "counts, lags, costs", "2  RoundStart"),
    "plan": Box("policies/", 2.4, "which draft, how far", "3  Policy.plan"),
    "guard": Box("core/", 3.3, "0 ≤ gamma ≤ budget", "4  PolicyGuard"),
    "draft": Box("backends/", 4.2, "gamma tokens in turn", "5  DraftSession"),
    "keep": Box("policies/", 5.1, "draft another?", "6  keep_drafting"),
    "verify": Box("backends/", 6.2, "all of them in one pass", "7  TargetSession"),
    "cut": Box("core/", 7.0, "EOS, stop, length", "8  StopConditions"),
    "advance": Box("backends/", 8.2, "caches to what is written", "9  advance"),
    "round": Box("core/", 8.8, "plan, counts, seconds", "10  Round"),
    "costs": Box("core/", 10.6, "what work takes now", "11  LiveCosts"),
    "observe": Box("policies/", 10.6, "learns", "12  Policy.observe"),
    "text": Box("cli/", 9.8, "letters as they come", "13  Screen"),
}
TOKEN_PATH = ("draft", "verify", "cut", "round", "text")
DECISION_PATH = ("start", "plan", "guard", "draft")
LEARNING_PATH = ("round", "costs"), ("round", "observe")
QUIET = ("generate", "start"), ("draft", "keep"), ("cut", "advance")


def main(arguments: list[str]) -> None:
    """Draw, and write where it is said."""
    with mpl.rc_context({"svg.hashsalt": "design", "font.size": 9}):  # the same bytes each time
        figure = draw()
        for path in arguments or [str(PAGE)]:
            figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None, dpi=110)


def draw() -> Figure:
    """Return the picture."""
    figure = Figure(figsize=(11.5, 4.9), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-0.85, 11.5)
    axes.set_ylim(-0.42, 4.05)
    axes.axis("off")
    for lane, y in LANES.items():
        axes.add_patch(Rectangle((-0.8, y + 0.03), 12.25, 0.94, color=TINTS[lane], linewidth=0))
        axes.text(-0.7, y + 0.5, lane, weight="bold", color=INK, va="center", fontsize=11)
    for box in BOXES.values():
        axes.add_patch(
            FancyBboxPatch(
                (box.x - WIDE / 2, box.y - HIGH / 2), WIDE, HIGH, boxstyle="round,pad=0.02,rounding_size=0.06",
                facecolor="white", edgecolor=INK, linewidth=0.8,
            )
        )  # fmt: skip
        axes.text(
            box.x, box.y + 0.1, box.name, weight="bold", color=INK, ha="center", va="center", fontsize=9
        )
        axes.text(box.x, box.y - 0.12, box.does, color=INK, ha="center", va="center", fontsize=7.5)
    for start, end in QUIET:
        _arrow(axes, start, end, ALSO, dashed=True)
    for path, colour in ((TOKEN_PATH, TOKEN), (DECISION_PATH, DECISION)):
        for start, end in pairwise(path):
            _arrow(axes, start, end, colour)
    for start, end in LEARNING_PATH:
        _arrow(axes, start, end, DECISION)
    for x, colour, label in (
        (-0.7, TOKEN, "a token"), (0.6, DECISION, "a decision, and what is learnt from it"), (4.2, ALSO, "also called"),
    ):  # fmt: skip
        axes.plot(
            [x, x + 0.35],
            [-0.2, -0.2],
            color=colour,
            linewidth=2.2,
            linestyle="--" if colour == ALSO else "-",
        )
        axes.text(x + 0.45, -0.2, label, color=INK, va="center")
    axes.text(11.4, -0.2, "time in one round", color=INK, va="center", ha="right")
    axes.add_patch(FancyArrowPatch((7.6, -0.2), (9.9, -0.2), arrowstyle="-|>", mutation_scale=10, color=INK))
    return figure


def _arrow(axes: object, start: str, end: str, colour: str, *, dashed: bool = False) -> None:
    """Draw an arrow between two boxes, from edge to edge."""
    tail, head = BOXES[start], BOXES[end]
    # Sideways between boxes of one lane, else from below or above.
    across = (
        (WIDE / 2 + 0.03, 0.0)
        if tail.y == head.y
        else (0.0, (HIGH / 2 + 0.02) * (1 if head.y > tail.y else -1))
    )
    ends = (tail.x + across[0], tail.y + across[1]), (head.x - across[0], head.y - across[1])
    patch = FancyArrowPatch(
        *ends, arrowstyle="-|>", mutation_scale=11, color=colour, shrinkA=0, shrinkB=0,
        linewidth=1.0 if dashed else 1.9, linestyle="--" if dashed else "-",
    )  # fmt: skip
    axes.add_patch(patch)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(sys.argv[1:])
