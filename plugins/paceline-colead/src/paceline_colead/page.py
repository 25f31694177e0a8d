"""The page of the experiment: accuracy by stage with intervals, the claims held against the numbers, and speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from html import escape
from io import StringIO

from matplotlib.figure import Figure

from paceline_colead.evolve import KINDS, Interval, Outcome, Settings

COLOURS = ("#9a6b1f", "#7a7a7a", "#d9a441", "#4a7fb5", "#1b3f66")

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}"
    "td,th{padding:.25rem .8rem;border-bottom:1px solid #ddd;text-align:right}"
    "td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}"
)

CLAIMS = (
    ("colead", "nlu alone"),
    ("colead", "data alone"),
    ("nlu in the circle", "nlu alone"),
    ("data in the circle", "data alone"),
)
"""The pairs of kinds of which the abstract says that the first is better."""

Value = Callable[[Outcome], float]


def page(outcomes: Sequence[Outcome], settings: Settings) -> str:
    """Return the page as HTML."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Colead: a language that grows</title>",
        f"<style>{STYLE}</style><h1>A language that grows</h1>",
        f"<p>{_size(outcomes, settings)} Means over seeds with 90 % intervals by Student's distribution.</p>",
    ]
    for name in dict.fromkeys(each.domain for each in outcomes):
        mine = [each for each in outcomes if each.domain == name]
        parts.append(f"<h2>{escape(name)}</h2>{_plot(mine)}")
        for title, shares in (("Exact", "exact"), ("Execution", "execution")):
            parts.append(f"<h3>{title}</h3>{_accuracy(mine, shares)}")
        header = ["stage", *(f"{better} over {worse}" for better, worse in CLAIMS)]
        parts.append(f"<h3>Claims, in points</h3>{_rows(header, claims(mine))}")
        parts.append(f"<h3>The grammar as draft</h3>{_speed(mine)}")
    return "".join(parts) + "</html>\n"


def table(outcomes: Sequence[Outcome]) -> str:
    """Return exact accuracy and speed by domain and stage as plain text."""
    lines = [f"{'':18}" + "".join(f"{kind:>20}" for kind in KINDS) + f"{'speed':>8}"]
    for (name, stage), group in _stages(outcomes).items():
        shares = "".join(f"{_shown(group, _share('exact', kind)):>20}" for kind in KINDS)
        lines.append(
            f"{name + ' ' + str(stage):18}{shares}{Interval.of([each.speedup for each in group]).mean:>8.2f}"
        )
    return "\n".join(lines)


def claims(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Return the gains that the paper's abstract claims, in points: a row for each stage and measure.

    A gain holds where its mean over seeds, which are paired, is beyond its interval.
    """
    rows = []
    for (_, stage), group in _stages(outcomes).items():
        for measure in ("exact", "execution"):
            gains = [
                Interval.of([_share(measure, better)(each) - _share(measure, worse)(each) for each in group])
                for better, worse in CLAIMS
            ]
            rows.append([f"{stage}, {measure}", *(_gain(gain) for gain in gains)])
    return rows


def _gain(gain: Interval) -> str:
    if gain.reach is None:
        return f"{100 * gain.mean:+.1f}"
    holds = "holds" if gain.mean > gain.reach else "does not hold"
    return f"{100 * gain.mean:+.1f} ± {100 * gain.reach:.1f}, {holds}"


def _stages(outcomes: Sequence[Outcome]) -> dict[tuple[str, int], list[Outcome]]:
    groups: dict[tuple[str, int], list[Outcome]] = {}
    for each in sorted(outcomes, key=lambda outcome: (outcome.domain, outcome.stage, outcome.seed)):
        groups.setdefault((each.domain, each.stage), []).append(each)
    return groups


def _share(measure: str, kind: str) -> Value:
    return lambda outcome: (outcome.exact if measure == "exact" else outcome.execution)[kind]


def _shown(group: Sequence[Outcome], value: Value) -> str:
    interval = Interval.of([value(each) for each in group])
    reach = "" if interval.reach is None else f" ± {100 * interval.reach:.1f}"
    return f"{100 * interval.mean:.1f}{reach} %"


def _size(outcomes: Sequence[Outcome], settings: Settings) -> str:
    seeds = len({each.seed for each in outcomes})
    return escape(
        f"{seeds} seeds. "
        + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in asdict(settings).items())
        + "."
    )


def _rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _accuracy(outcomes: Sequence[Outcome], measure: str) -> str:
    rows = [
        [str(stage), *(_shown(group, _share(measure, kind)) for kind in KINDS)]
        for (_, stage), group in _stages(outcomes).items()
    ]
    return _rows(["stage", *KINDS], rows)


def _speed(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for (_, stage), group in _stages(outcomes).items():
        speed = Interval.of([each.speedup for each in group])
        rows.append(
            [
                str(stage),
                _shown(group, lambda each: each.acceptance["before"]),
                _shown(group, lambda each: each.acceptance["after"]),
                f"{Interval.of([each.tokens_per_round for each in group]).mean:.1f}",
                f"{speed.mean:.2f}" + ("" if speed.reach is None else f" ± {speed.reach:.2f}"),
                "all" if all(each.identical for each in group) else "NOT all",
                f"{sum(each.pseudo_right for each in group)} of {sum(each.pseudo for each in group)}",
            ]
        )
    return _rows(
        [
            "stage",
            "acceptance, before the circle",
            "after",
            "tokens a round",
            "times plain decoding",
            "tokens identical",
            "labels of the NLU side that are right",
        ],
        rows,
    )


def _plot(outcomes: Sequence[Outcome]) -> str:
    figure = Figure(figsize=(10, 3.7), layout="constrained")
    exact, execution, speed = figure.subplots(1, 3)
    stages = _stages(outcomes)
    at = [stage for _, stage in stages]
    for axes, measure in ((exact, "exact"), (execution, "execution")):
        for offset, (kind, colour) in enumerate(zip(KINDS, COLOURS, strict=True)):
            intervals = [
                Interval.of([_share(measure, kind)(each) for each in group]) for group in stages.values()
            ]
            axes.errorbar(
                [stage + 0.04 * (offset - 2) for stage in at],
                [each.mean for each in intervals],
                yerr=[each.reach or 0.0 for each in intervals],
                color=colour,
                marker="o",
                markersize=4,
                label=kind,
            )
        axes.set_ylim(0, 1)
        axes.set_title(measure)
    figure.legend(*exact.get_legend_handles_labels(), loc="outside lower center", ncols=len(KINDS))
    ratios = [Interval.of([each.speedup for each in group]) for group in stages.values()]
    speed.errorbar(
        at,
        [each.mean for each in ratios],
        yerr=[each.reach or 0.0 for each in ratios],
        color=COLOURS[4],
        marker="o",
    )
    speed.axhline(1.0, color="#999", linewidth=0.8)
    speed.set_ylim(bottom=0)
    speed.set_title("speed, plain decoding = 1")
    for axes in (exact, execution, speed):
        axes.set_xticks(at)
        axes.set_xlabel("stage")
    text = StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()[text.getvalue().index("<svg") :]
