"""Figures as SVG: the look that all share, the same bytes every time, and colours that follow light and dark.

Letters are drawn as paths, so that a page looks the same wherever it is opened. The page holds drawings whose colours
are CSS variables; a file of its own carries both sets of colours, and a background for readers that know only one.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from paceline.lab.report.palette import PALETTE, pen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 7.4
"""Inches; the page is about as wide, so that letters have the size that is set here."""

LOOK = {
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
def canvas(height: float, **layout: object) -> Iterator[Figure]:
    """Give a figure of the page's width and this height in inches, in the common look."""
    with mpl.rc_context(LOOK):  # type: ignore[arg-type]
        yield Figure(figsize=(WIDTH, height), layout="constrained", **layout)  # type: ignore[arg-type]


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
    svg = _ID.sub(lambda found: f"{found[1]}{name}-{numbers.setdefault(found[2], len(numbers))}", svg)
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
    told = f"<title>{escape(drawing.title)}</title><desc>{escape(drawing.alt)}</desc>"
    style = f"<style>@media (prefers-color-scheme: dark){{{''.join(rules)}}}</style>"
    back = f'<rect width="100%" height="100%" style="fill: {paper}"/>'
    cut = svg.index(">") + 1
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg[:cut]}{told}{style}{back}{svg[cut:]}'
