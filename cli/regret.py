"""`paceline regret`: how far each replayed policy is from the optimum, and from the best static choices."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from paceline.cli._options import REPLAY, FormatOption, JsonOption, RecordingOption, ReplayArgument
from paceline.cli._progress import counted
from paceline.cli._render import Column, Format, Table, number, show, show_json, warn
from paceline.core.environment import require
from paceline.core.errors import ConfigError
from paceline.lab.stats import Ratio, interval, share, share_interval, times

if TYPE_CHECKING:
    from paceline.lab.figures import Comparison, Figures
    from paceline.lab.recording.model import Recording
    from paceline.lab.results import Key, Results

COLUMNS = (
    *(Column("", name=name) for name in ("order", "start", "seed", "draw", "group")),
    Column("over\nplain", times, interval),
    Column("over\nstatic", times),
    Column("cap-\ntured", share, share_interval),
    Column("beyond\nstatic", share),
    Column("lost\nm/token", partial(number, digits=0)),
    Column("tok/\nround", partial(number, digits=2)),
)
OF_PASS, OF_POLICY = COLUMNS[:5], COLUMNS[5:]
"""Speed over plain decoding, and over the best static choice in hindsight; the share captured of the time between plain
decoding and the optimum with its interval, and of that beyond the best static choice; what is lost to the optimum, in
thousandths of a plain step a token; tokens a round."""


def regret(
    replay: ReplayArgument = REPLAY,
    *,
    recording: RecordingOption = None,
    order: Annotated[
        str | None, typer.Option("--order", help="Of the passes shown; by default that of the first one.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", help="Of the passes shown, warm or cold; by default as above.")
    ] = None,
    window: Annotated[
        int, typer.Option("--window", min=1, help="Tokens of a segment, for dynamic regret.")
    ] = 64,
    form: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """Say how much of what was possible each policy captured, on all texts and on those that vary.

    The tables show one order, start, seed and draw. JSON has every pass, every kind, and all kinds of regret.
    """
    require("numpy")
    from paceline.lab.replay.sources import read_sources  # noqa: PLC0415 - numpy

    sources = read_sources(replay, recording)
    if sources.unfinished is not None:
        warn(sources.unfinished)
    if sources.recording is None:
        raise ConfigError(f"{sources.missing}; without it the optimum is not known")
    if as_json:
        comparisons = _compared(sources.results, sources.recording, window)
        passes = [_values(key, comparisons[key[1:]]) for key in sources.results.passes]
        show_json("regret", {"window": window, "verdicts": passes})
        return
    shown = _shown(sources.results, order, start)
    ((_, comparison),) = _compared(shown, sources.recording, window).items()
    _show(comparison, next(iter(shown.passes)), form)


def _shown(results: Results, order: str | None, start: str | None) -> Results:
    """Return the passes of one order, start, seed and draw."""
    keys = [key for key in results.passes if order in {None, key.order} and start in {None, key.start}]
    if not keys:
        known = sorted({f"{key.order} {key.start}" for key in results.passes})
        raise ConfigError(
            f"the replay has no pass in this order and start; it has: {', '.join(known) or 'none at all'}"
        )
    return results.only([key for key in keys if key[1:] == keys[0][1:]])


def _compared(results: Results, recording: Recording, window: int) -> dict[tuple[Any, ...], Comparison]:
    """Compare the passes that differ in the policy alone, with a bar on a terminal."""
    from paceline.lab.comparison import compare  # noqa: PLC0415
    from paceline.lab.hindsight import Hindsight  # noqa: PLC0415

    with counted("optima") as advance:
        hindsight = Hindsight(recording, window=window, on_text=lambda _name: advance())
        ways = dict.fromkeys(key[1:] for key in results.passes)
        return {
            way: compare(
                results.only([key for key in results.passes if key[1:] == way]),
                hindsight=hindsight,
                regret=True,
            )
            for way in ways
        }


def _values(key: Key, comparison: Comparison) -> dict[str, Any]:
    """Return one pass as JSON-able values."""
    from paceline.lab.figures import ALL, VARYING  # noqa: PLC0415

    row, best = comparison.row(key.policy), comparison.best_static
    groups = {ALL: row.all}
    if row.varying is not None and row.varying.texts < row.all.texts:
        groups[VARYING] = row.varying
    if len(row.kinds) > 1:
        groups |= row.kinds
    return {
        "label": row.policy,
        "policy": dict(row.options),
        "order": key.order,
        "start": key.start,
        "seed": key.seed,
        "draw": key.draw,
        "groups": {name: _figures(figures) for name, figures in groups.items()},
        "best_static": best.label if best is not None else None,
        "curve": comparison.lost(key.policy),
    }


def _figures(figures: Figures) -> dict[str, Any]:
    values, lost = asdict(figures), figures.regret
    assert lost is not None, "it was asked for"
    return {
        "texts": figures.texts,
        "tokens": round(figures.tokens),
        "exact": lost.exact,
        **{
            name: values[name] for name in ("speedup", "over_static", "oracle", "captured", "captured_static")
        },
        "over_tuned": values["regret"]["over_tuned"],
        "oracle_expected": values["regret"]["oracle_expected"],
        "plain_s": figures.plain_s / figures.tokens,
        "regret_s": lost.oracle_s,
        "regret_static_s": lost.static_s,
        "regret_dynamic_s": lost.dynamic_s,
        "accepted_tokens": figures.accepted_tokens,
        "spec_bench": figures.spec_bench,
    }


def _show(comparison: Comparison, key: Key, form: Format) -> None:
    from paceline.cli.replay import STARTS, TITLES  # noqa: PLC0415
    from paceline.lab.figures import ALL, VARYING  # noqa: PLC0415
    from paceline.lab.stats import FEWEST, TOO_FEW  # noqa: PLC0415

    drawn = f", draw {key.draw}" if key.draw is not None else ""
    groups = comparison.groups
    tables = [
        headroom_table(comparison, group)
        for group in (ALL, VARYING)
        if group == ALL or 0 < len(groups.get(group, ())) < len(groups[ALL])
    ]
    show(
        Text(f"{TITLES[key.order]}; {STARTS[key.start]}; seed {key.seed}{drawn}", style="bold"),
        *(part for table in tables for part in ("", table)),
        "",
        *([f"There are {TOO_FEW}."] if len(groups[ALL]) < FEWEST else []),
        "What each number means: docs/regret.md. --json has every pass and kind.",
        form=form,
    )


def headroom_table(comparison: Comparison, group: str) -> Table:
    """Return one row a policy that has texts of a group, the fastest first, and the optimum at the end."""
    heading = Column("policy" if group == "all" else f"policy, {group} texts", name="policy")
    table = Table((*OF_PASS, heading, *OF_POLICY))
    rows = sorted(
        (row for row in comparison.rows if group in row.groups), key=lambda row: _lost(row.groups[group])
    )
    about = (comparison.order, comparison.start, comparison.seeds[0], comparison.draws[0], group)
    for row in rows:
        table.add(*about, row.policy, *_values_of(row.groups[group]))
    if rows:
        best = rows[0].groups[group]
        name = "optimum" if best.regret is not None and best.regret.exact else "bound"
        table.add(*about, name, best.oracle, None, Ratio(1.0), 1.0, 0.0, None, style="dim")
    return table


def _lost(figures: Figures) -> float:
    return figures.regret.oracle_s if figures.regret is not None else 0.0


def _values_of(figures: Figures) -> tuple[Ratio | float | None, ...]:
    plain_s = figures.plain_s / figures.tokens
    return (
        figures.speedup,
        figures.over_static,
        figures.captured,
        figures.captured_static,
        1000 * _lost(figures) / plain_s,
        figures.accepted_tokens,
    )
