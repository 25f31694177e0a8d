"""The pictures of a report, on the page, on a figure, or on axes of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes

from paceline.core.errors import ConfigError
from paceline.lab.figures import ORACLE
from paceline.lab.report.drawing import (
    HUES,
    Drawing,
    canvas,
    finish,
    foreign_axes,
    legend,
    name_ends,
    pen,
    quiet,
    shortened,
)
from paceline.lab.report.rounds import positions, timeline
from paceline.lab.stats import times

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

    from paceline.lab.figures import Row
    from paceline.lab.report.build import Curve, Report


def ranking(report: Report, axes: Axes) -> str | None:
    """Draw the ranking."""
    rows = report.shown
    for place, row in enumerate(reversed(rows)):
        colour = pen("soft") if row.static else pen("blue")
        speed = row.all.speedup
        assert speed is not None, "rounds take time"
        if speed.low is not None and speed.high is not None:
            axes.plot([speed.low, speed.high], [place, place], color=colour, linewidth=1.6)
        axes.plot(
            speed.value, place, "s" if row.static else "o", color=colour, markersize=6.0,
            markerfacecolor=pen("paper") if row.static else colour, markeredgewidth=1.4,
        )  # fmt: skip
        axes.annotate(
            times(speed), (speed.high or speed.value, place), xytext=(8, 0),
            textcoords="offset points", va="center", fontsize=10, color=pen("ink"),
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [shortened(row.policy) for row in reversed(rows)])
    axes.set_ylim(-0.7, len(rows) + 0.1)
    quiet(axes, grid="x")
    axes.axvline(1.0, color=pen("soft"), linewidth=0.8, zorder=0)
    lines = [(1.0, "plain decoding", "soft")]
    if report.oracle is not None:
        axes.axvline(report.oracle, color=pen("orange"), linewidth=1.2, zorder=0)
        lines.append((report.oracle, f"oracle {times(report.oracle)}", "orange"))
    for x, name, role in lines:
        axes.annotate(
            name, (x, len(rows) - 0.35), xytext=(4, 0), textcoords="offset points",
            color=pen(role), fontsize=10, va="center",
        )  # fmt: skip
    low, high = axes.get_xlim()
    axes.set_xlim(low, high + 0.12 * (high - low))
    axes.set_xlabel("speed-up over plain decoding")
    first = rows[0]
    return (
        f"Dots with whiskers: speed-ups over plain decoding of {len(rows)} policies, from {first.policy} at "
        f"{_speedup(first):.2f} times down to {rows[-1].policy} at {_speedup(rows[-1]):.2f} times."
    )


CURVES_NAMED = 5
HEIGHT = 3.9


def _named(report: Report) -> list[Curve]:
    """Return the curves that get a colour: those of the fastest that adapt."""
    by_label = {curve.label: curve for curve in report.curves}
    adaptive = [row.policy for row in report.rows if not row.static and row.policy in by_label]
    return [by_label[label] for label in adaptive[:CURVES_NAMED]]


def regret(report: Report, axes: Axes) -> str | None:
    """Draw the curves; None without an oracle. Plain decoding is left out: beside it the others would be flat."""
    curves = [curve for curve in report.curves if curve.label != report.plain.policy]
    if not curves:
        return None
    named = _named(report)
    best_static = next((curve for curve in curves if curve.label == report.best_static), None)
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
    return f"Rising curves; plain steps lost after all {last} tokens: {listed}."


PARTS = (
    ("draft", "drafting", "blue"),
    ("verify", "verifying", "gold"),
    ("score", "scoring", "purple"),
    ("loop", "loop", "soft"),
)


def shares(report: Report, axes: Axes) -> str | None:
    """Draw one bar a policy, as long as its time a token, split into the parts of a round."""
    rows = report.shown
    unit = report.plain.shares.total
    parts = [part for part in PARTS if any(getattr(row.shares, part[0]) > 0.0 for row in rows)]
    for place, row in enumerate(reversed(rows)):
        left = 0.0
        for key, _, role in parts:
            length = getattr(row.shares, key) / unit
            axes.barh(
                place, length, left=left, height=0.66, color=pen(role), edgecolor=pen("paper"), linewidth=0.7
            )  # fmt: skip
            left += length
    axes.set_yticks(range(len(rows)), [shortened(row.policy) for row in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    quiet(axes, grid="x")
    axes.axvline(1.0, color=pen("soft"), linewidth=0.8)
    axes.set_xlabel("time a token, in plain steps")
    legend(axes, [(f"■ {name}", pen(role)) for _, name, role in parts])
    first = rows[0].shares
    return (
        f"Bars of time a token. {rows[0].policy}: {first.draft / first.total:.0%} drafting, "
        f"{first.verify / first.total:.0%} verifying, {(first.score + first.loop) / first.total:.0%} the rest."
    )


KINDS_NAMED = 3
MARKS = ("o", "D", "^")


def kinds(report: Report, axes: Axes) -> str | None:
    """Draw a row of marks for each kind; None where all texts are of one kind."""
    comparison = report.comparison
    listed = list(comparison.kinds)
    if len(listed) < 2:
        return None
    rows = [row for row in report.rows if not row.static][:KINDS_NAMED]
    for place, kind in enumerate(reversed(listed)):
        marks = [
            (ratio.value, colour)
            for label, colour in ((report.best_static, pen("ink")), (ORACLE, pen("orange")))
            if label is not None
            and label in comparison.times
            and (ratio := comparison.speedup(label, texts=comparison.kinds[kind])) is not None
        ]
        for value, colour in marks:
            axes.plot(value, place, "|", color=colour, markersize=15, markeredgewidth=2)
        speeds = [(number, _speedup(row, kind)) for number, row in enumerate(rows) if kind in row.kinds]
        values = [value for _, value in speeds] + [value for value, _ in marks]
        if values:
            axes.plot([min(values), max(values)], [place, place], color=pen("rule"), linewidth=1, zorder=1)
        for number, value in reversed(speeds):
            axes.plot(value, place, MARKS[number], color=_hue(number), markersize=7 - number)
    entries = [(f"{'●◆▲'[number]} {shortened(row.policy)}", _hue(number)) for number, row in enumerate(rows)]
    if report.best_static is not None:
        entries.append((f"┃ {shortened(report.best_static)}", pen("ink")))
    if report.oracle is not None:
        entries.append(("┃ oracle", pen("orange")))
    legend(axes, entries)
    texts = {kind: len(comparison.kinds[kind]) for kind in reversed(listed)}
    axes.set_yticks(range(len(listed)), [f"{shortened(kind)} ({count})" for kind, count in texts.items()])
    axes.set_ylim(-0.6, len(listed) - 0.4)
    axes.axvline(1.0, color=pen("soft"), linewidth=0.8, zorder=0)
    quiet(axes, grid="x")
    axes.set_xlabel("speed-up over plain decoding")
    return (
        "Marks of speed-ups by kind: "
        + "; ".join(
            f"{kind} {_speedup(row, kind):.2f} times under {row.policy}"
            for row in rows[:1]
            for kind in listed
            if kind in row.kinds
        )
        + "."
    )


def _speedup(row: Row, kind: str | None = None) -> float:
    figures = row.all if kind is None else row.kinds[kind]
    assert figures.speedup is not None, "rounds take time"
    return figures.speedup.value


def _hue(number: int) -> str:
    return pen([hue for hue in HUES if hue != "orange"][number])


MOST_ROWS = 12
NARROWEST = 0.2
"""The least the axis spans, so that differences that do not matter look small."""

GLYPHS = {"o": "●", "D": "◆", "^": "▲", "s": "■", "v": "▼"}
HOLLOW = {"o": "○", "D": "◇", "^": "△", "s": "□", "v": "▽"}


def orders(report: Report, axes: Axes) -> str | None:
    """Draw a row a policy and a mark for each setting, filled where it stays warm; None with one setting only."""
    settings = report.settings
    if len(settings) < 2:
        return None
    labels = _adaptive(report)
    if not labels:
        return None
    names = list(dict.fromkeys(setting.order for setting in settings))
    marks, hues = dict(zip(names, GLYPHS, strict=False)), dict(zip(names, HUES, strict=False))
    for place, label in enumerate(reversed(labels)):
        rows = [
            (setting, speedup.value)
            for setting in settings
            if label in setting.times and (speedup := setting.speedup(label)) is not None
        ]
        values = [value for _, value in rows]
        axes.plot([min(values), max(values)], [place, place], color=pen("rule"), linewidth=1, zorder=1)
        for setting, value in rows:
            colour = pen(hues[setting.order])
            axes.plot(
                value, place, marks[setting.order], color=colour, markersize=6.5, markeredgewidth=1.3,
                markerfacecolor=colour if setting.start == "warm" else pen("paper"),
            )  # fmt: skip
    entries = [
        (
            f"{_glyph(marks[setting.order], setting.start)} {setting.order}, {setting.start}",
            pen(hues[setting.order]),
        )
        for setting in settings
    ]
    legend(axes, entries)
    axes.set_yticks(range(len(labels)), [shortened(label) for label in reversed(labels)])
    axes.set_ylim(-0.6, len(labels) - 0.4)
    low, high = axes.get_xlim()
    short = max(0.0, NARROWEST - (high - low)) / 2
    axes.set_xlim(low - short, high + short)
    quiet(axes, grid="x")
    axes.set_xlabel("speed-up over plain decoding")
    return (
        f"Marks of speed-ups of {len(labels)} policies in {len(settings)} settings: "
        + ", ".join(f"{setting.order} {setting.start}" for setting in settings)
        + "."
    )


def _adaptive(report: Report) -> list[str]:
    return [row.policy for row in report.rows if not row.static][:MOST_ROWS]


def _glyph(mark: str, start: str) -> str:
    return GLYPHS[mark] if start == "warm" else HOLLOW[mark]


def costs(report: Report, axes: Axes) -> str | None:
    """Draw verification by block length and drafting by gamma; None without a latency profile."""
    prices = report.prices
    if prices is None:
        return None
    lines = [("verify a block", pen("gold"), [*sorted(prices.verify.items())])]
    hues = [hue for hue in HUES if hue != "gold"]
    for number, (draft, seconds) in enumerate(prices.draft.items()):
        lines.append((f"draft, {draft}", pen(hues[number % len(hues)]), [*sorted(seconds.items())]))
    top = 1.08e3 * max(seconds for _, _, points in lines for _, seconds in points)
    axes.set_ylim(0, top)
    ends = []
    for name, colour, points in lines:
        axes.plot(
            [x for x, _ in points], [1e3 * y for _, y in points], "o-", color=colour,
            markersize=4, linewidth=1.5,
        )  # fmt: skip
        ends.append((points[-1][0], 1e3 * points[-1][1], name, colour))
    axes.set_xlim(left=0)
    name_ends(axes, ends)
    quiet(axes, grid="y")
    axes.set_title("milliseconds", color=pen("soft"))
    axes.set_xlabel("tokens in the block, or drafted")
    block = sorted(prices.verify)
    return (
        f"Lines of milliseconds by tokens; verifying takes {1e3 * prices.verify[block[0]]:.2f} ms for "
        f"{block[0]} and {1e3 * prices.verify[block[-1]]:.2f} ms for {block[-1]}."
    )


@dataclass(frozen=True, slots=True)
class Picture:
    """One kind of picture.

    Attributes:
        title: A few words, which stand above it.
        height: In inches.
        draw: Draws on axes, or on a whole figure where it is of several panels; returns the picture in words for those
            who cannot see it, or None where the report has no data for it.
        panels: Whether it is of several panels.
    """

    title: str
    height: Callable[[Report], float]
    draw: Callable[[Report, Any], str | None]
    panels: bool = False


PICTURES: Mapping[str, Picture] = {
    "ranking": Picture("Ranking", lambda report: 0.9 + 0.27 * len(report.shown), ranking),
    "timeline": Picture(
        "Round by round", lambda report: 0.5 + 1.95 * len(report.timelines), timeline, panels=True
    ),
    "regret": Picture("Time lost against the oracle", lambda _report: HEIGHT, regret),
    "positions": Picture("Acceptance by position", lambda _report: HEIGHT, positions, panels=True),
    "shares": Picture("Where the time goes", lambda report: 1.0 + 0.25 * len(report.shown), shares),
    "kinds": Picture("Kinds of text", lambda report: 0.95 + 0.34 * len(report.comparison.kinds), kinds),
    "orders": Picture("Orders, warm and cold", lambda report: 1.0 + 0.3 * len(_adaptive(report)), orders),
    "costs": Picture("What a round is made of", lambda _report: 3.2, costs),
}
"""By name, in the order of the page."""


def pictures(report: Report) -> dict[str, Drawing]:
    """Draw what the report has data for, by name, in the order of the page."""
    drawn = {}
    for name, picture in PICTURES.items():
        with canvas(picture.height(report) or 1.0) as figure:
            alt = picture.draw(report, figure if picture.panels else figure.add_subplot())
            if alt is not None:
                drawn[name] = finish(figure, name, picture.title, alt)
    return drawn


def draw(report: Report, name: str, *, axes: Axes | None = None) -> FigureBase:
    """Draw one picture of a report, in the colours of a light page.

    Args:
        report: What to draw.
        name: One of `PICTURES`.
        axes: Where to draw, if not on a figure of its own.

    Returns:
        The figure; its `savefig` writes PNG, PDF or SVG, by the ending of the path.

    Raises:
        ConfigError: There is no such picture, the report has no data for it, it needs several panels, or `axes` are no
            axes.
    """
    if axes is not None and not isinstance(axes, Axes):
        raise ConfigError(
            f"axes are those of matplotlib, such as figure.subplots() returns; this is a {type(axes).__name__}"
        )
    picture = PICTURES.get(name)
    if picture is None:
        raise ConfigError(f"no picture named {name!r}; there are {', '.join(PICTURES)}")
    if picture.panels and axes is not None:
        raise ConfigError(
            f"the picture {name!r} has several panels, so it takes a figure of its own: leave out axes"
        )
    figure: FigureBase
    if axes is not None:
        figure = axes.figure
        with foreign_axes():
            alt = picture.draw(report, axes)
    else:
        with canvas(picture.height(report) or 1.0, colours="light") as figure:
            alt = picture.draw(report, figure if picture.panels else figure.add_subplot())
    if alt is None:
        raise ConfigError(f"the report has no data for the picture {name!r}")
    return figure
