"""Figures as SVG: the look that all share, the same bytes every time, and colours that follow light and dark.

Letters are drawn as paths, so that a page looks the same wherever it is opened. The page holds drawings whose colours
are CSS variables; a file of its own carries both sets of colours, and a background for readers that know only one.

Hues are told apart by people with any of the common kinds of colour blindness (after Okabe and Ito,
https://jfly.uni-koeln.de/color/), darkened or lightened until each has a contrast of 4.5 to the paper, which WCAG 2.2
asks of text (success criterion 1.4.3); a test works the contrasts out.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class Colour:
    """One role of colour.

    Attributes:
        stand_in: What drawings are made with; no other colour of a drawing is like it.
        light, dark: What is seen.
    """

    stand_in: str
    light: str
    dark: str


PALETTE: Mapping[str, Colour] = {
    "paper": Colour("#fefdf1", "#fffefb", "#16181c"),
    "ink": Colour("#010203", "#1d1f24", "#e9e6df"),
    "soft": Colour("#525456", "#5a5e66", "#a6a9b0"),
    "rule": Colour("#d1d2d3", "#d9d6ce", "#393d45"),
    "blue": Colour("#0102f1", "#0a5c9e", "#74b6f2"),
    "orange": Colour("#f10203", "#b2450c", "#f79b5f"),
    "green": Colour("#01f103", "#0b6e50", "#4fc79d"),
    "purple": Colour("#8102f3", "#84408f", "#d59ce0"),
    "gold": Colour("#f1d103", "#80600a", "#dcb449"),
    "wash": Colour("#c1d2e3", "#c3d8ea", "#2c4763"),
}
"""By role. `soft` is for secondary text, `rule` for lines that guide the eye, `wash` for areas behind a mark."""

HUES = ("blue", "orange", "green", "purple", "gold")


_COLOURS: ContextVar[Literal["stand_in", "light"]] = ContextVar("colours", default="light")
"""The colours that pens have: those of a light page, but for drawings of a page that has two sets of them."""


def pen(role: str) -> str:
    """Return the colour of a role, as the canvas has it."""
    colour: str = getattr(PALETTE[role], _COLOURS.get())
    return colour


def variables(mode: str) -> str:
    """Return the CSS declarations of all roles for `light` or `dark`."""
    return " ".join(f"--{role}: {getattr(colour, mode)};" for role, colour in PALETTE.items())


WIDTH = 7.4
"""Inches; the page is about as wide, so that letters have the size that is set here."""


def _look() -> dict[str, object]:
    return {
        "font.family": ["STIXGeneral", "DejaVu Sans"],
        "font.size": 11,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.labelsize": 11,
        "axes.edgecolor": pen("soft"),
        "axes.labelcolor": pen("ink"),
        "axes.facecolor": "none",
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": pen("soft"),
        "ytick.color": pen("soft"),
        "xtick.labelcolor": pen("ink"),
        "ytick.labelcolor": pen("ink"),
        "xtick.labelsize": 10,
        "ytick.labelsize": 10,
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.7,
        "grid.color": pen("rule"),
        "grid.linewidth": 0.6,
        "text.color": pen("ink"),
        "text.parse_math": False,  # names of policies may hold a dollar sign
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
        "svg.fonttype": "path",
        "svg.hashsalt": "paceline",
        "path.simplify": False,
        "lines.solid_capstyle": "round",
    }


_ID = re.compile(r'(\bid="|href="#|url\(#)([^")]+)')


@dataclass(frozen=True, slots=True)
class Drawing:
    """One finished figure.

    Attributes:
        name: Name of its file, without ending.
        title: A few words, which stand above it.
        alt: What it shows, for those who cannot see it.
        svg: With the stand-in colours of the palette.
    """

    name: str
    title: str
    alt: str
    svg: str


@contextmanager
def canvas(height: float, *, colours: Literal["stand_in", "light"] = "stand_in") -> Iterator[Figure]:
    """Give a figure of the page's width and this height in inches, in the common look."""
    token = _COLOURS.set(colours)
    try:
        with mpl.rc_context(_look()):  # type: ignore[arg-type]
            yield Figure(figsize=(WIDTH, height), layout="constrained")
    finally:
        _COLOURS.reset(token)


@contextmanager
def foreign_axes() -> Iterator[None]:
    """Have the look for axes of the caller, whose fonts stay: some of their letters are there already."""
    look: Any = {name: value for name, value in _look().items() if not name.startswith("font.")}
    with mpl.rc_context(look):
        yield


def quiet(axes: Axes, *, grid: str = "") -> None:
    """Take away what does not inform: ticks and all lines but the lower one; `grid` is "x", "y" or ""."""
    axes.spines["left"].set_visible(False)
    axes.tick_params(length=0)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid)  # type: ignore[arg-type]


def finish(figure: Figure, name: str, title: str, alt: str) -> Drawing:
    """Turn a figure into a drawing."""
    text = StringIO()
    _settle(figure)
    with warnings.catch_warnings():
        # A name in a script that the fonts lack shows boxes here, and is right in the tables.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    # Identifiers must differ among the drawings of one page, and not hang on the last bit of a number.
    numbers: dict[str, int] = {}
    svg = _ID.sub(lambda match: f"{match[1]}{name}-{numbers.setdefault(match[2], len(numbers))}", svg)
    return Drawing(name, title, alt, svg)


def _settle(figure: Figure) -> None:
    """Lay out once, and round the places: the solver's last bits differ from run to run."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.get_axes():
        axes.set_position([round(place, 4) for place in axes.get_position().bounds])  # type: ignore[arg-type]


def inline(drawing: Drawing) -> str:
    """Return the SVG for a page that sets the palette's variables, with what screen readers say of it."""
    svg = drawing.svg.replace("<svg ", f'<svg role="img" aria-label="{escape(drawing.alt, quote=True)}" ', 1)
    for role, colour in PALETTE.items():
        svg = svg.replace(colour.stand_in, f"var(--{role})")
    return svg


def standalone(drawing: Drawing) -> str:
    """Return the SVG as a file of its own, which follows the reader's light or dark."""
    svg = drawing.svg
    rules = []
    for colour in PALETTE.values():
        svg = svg.replace(colour.stand_in, colour.light)
        rules += [
            f'[style*="{kind}: {colour.light}"]{{{kind}:{colour.dark}!important}}'
            for kind in ("fill", "stroke")
        ]
    paper = PALETTE["paper"].light
    title = f"<title>{escape(drawing.title)}</title><desc>{escape(drawing.alt)}</desc>"
    style = f"<style>@media (prefers-color-scheme: dark){{{''.join(rules)}}}</style>"
    back = f'<rect width="100%" height="100%" style="fill: {paper}"/>'
    cut = svg.index(">") + 1
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg[:cut]}{title}{style}{back}{svg[cut:]}'


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
    order = sorted(range(len(places)), key=lambda place: (places[place], place))
    groups: list[list[float]] = []  # of [sum of wanted places less their offset in the group, members]
    for rank, place in enumerate(order):
        groups.append([places[place] - rank * gap, 1])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] >= groups[-1][0] / groups[-1][1]:
            total, members = groups.pop()
            groups[-1][0] += total
            groups[-1][1] += members
    bases = [total / members for total, members in groups for _ in range(int(members))]
    moved = [0.0] * len(places)
    for rank, place in enumerate(order):
        moved[place] = bases[rank] + rank * gap
    return moved


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
