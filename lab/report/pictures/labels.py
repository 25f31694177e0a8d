"""Labels beside the marks they name, moved apart where they would lie on one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MOST = 24
LINE = 0.065
"""Height of a line of letters, in that of axes of the usual size."""


def shortened(name: str, most: int = MOST) -> str:
    """Return a name that fits beside a mark; long ones end in an ellipsis, and tables hold them whole."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move places apart until neighbours keep `gap`, each as little as may be in the order they have.

    Overlapping groups are laid out around the mean of what they wanted (pool adjacent violators; Ayer et al. 1955).
    """
    order = sorted(range(len(places)), key=lambda one: (places[one], one))
    groups: list[list[float]] = []  # of [sum of wanted places less their offset in the group, members]
    for rank, one in enumerate(order):
        groups.append([places[one] - rank * gap, 1])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] >= groups[-1][0] / groups[-1][1]:
            total, members = groups.pop()
            groups[-1][0] += total
            groups[-1][1] += members
    bases = [total / members for total, members in groups for _ in range(int(members))]
    found = [0.0] * len(places)
    for rank, one in enumerate(order):
        found[one] = bases[rank] + rank * gap
    return found


def name_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write the names of lines to the right of the axes, each with a stroke to where its line ends.

    Args:
        axes: With its limits set.
        ends: Of each line the last x, the last y, the name and the colour.
    """
    low, high = axes.get_ylim()
    places = spread([y for _, y, _, _ in ends], LINE * (high - low))
    for (x, y, name, colour), place in zip(ends, places, strict=True):
        stroke = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "relpos": (0.0, 0.5)}
        axes.annotate(
            shortened(name), (x, y), xytext=(1.04, place), textcoords=axes.get_yaxis_transform(),
            color=colour, va="center", fontsize=10, arrowprops=stroke | {"shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip


def legend(axes: Axes, entries: Sequence[tuple[str, str]]) -> None:
    """Write names with their marks in a row above the axes, each in its colour and as wide as it is."""
    names: list[Artist] = [
        TextArea(name, textprops={"color": colour, "fontsize": 10.5}) for name, colour in entries
    ]
    row = HPacker(children=names, pad=0, sep=18)
    box = AnchoredOffsetbox(
        "lower left", child=row, frameon=False, pad=0, borderpad=0.4,
        bbox_to_anchor=(0.0, 1.0), bbox_transform=axes.transAxes,
    )  # fmt: skip
    axes.add_artist(box)
