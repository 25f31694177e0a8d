"""`paceline replay`: policies on a recording, without a model; or a serving trace, checked decision by decision."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.text import Text

from paceline.cli._options import (
    RECORDING,
    REPLAY,
    ConfigOption,
    FormatOption,
    JsonOption,
    SetOption,
    read_config,
)
from paceline.cli._process import exit_code
from paceline.cli._progress import progress
from paceline.cli._render import (
    Column,
    Format,
    Table,
    left_out,
    number,
    show,
    show_json,
    value_of,
    warn,
)
from paceline.core.environment import cores, require
from paceline.core.errors import ConfigError, PacelineError
from paceline.core.files import check_output, printable
from paceline.lab.stats import share, times

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.config.blocks import PolicyConfig
    from paceline.core.plugins.catalogue import Catalogue
    from paceline.lab.figures import Comparison
    from paceline.lab.recording.model import Header, Recording
    from paceline.lab.replay.choices import Chosen
    from paceline.lab.replay.partial_traces import Coverage
    from paceline.lab.replay.passes import Done
    from paceline.lab.replay.run import Settings
    from paceline.lab.replay.trace_check import Checked
    from paceline.lab.results import Results

DEFAULT_ORDERS = "shuffled,by-kind"
DEFAULT_STARTS = "warm,cold"
BOUNDED = 20_000
"""Tokens of a recording up to which the optimum is worked out for the table: seconds. `paceline report` always does."""

NAMED = 5
"""Policies that are named in one line."""

COLUMNS = (
    Column("", name="order"),
    Column("", name="start"),
    "policy",
    Column("tokens/s", partial(number, digits=1)),
    Column("over plain", times),
    Column("over best static", partial(times, digits=3)),
    Column("tokens a round", partial(number, digits=2)),
    Column("of headroom", share),
)

TITLES = {
    "recorded": "texts as recorded",
    "shuffled": "texts shuffled",
    "by-kind": "texts kind by kind",
    "switching": "texts that switch to another kind",
}
STARTS = {
    "warm": "what was learnt goes on from text to text",
    "cold": "everything is learnt anew on each text",
}


def replay(
    recording: Annotated[
        Path, typer.Argument(metavar="[RECORDING]", help="What `paceline record` wrote, or a serving trace.")
    ] = RECORDING,
    *,
    config: ConfigOption = None,
    changes: SetOption = None,
    policies: Annotated[
        str | None,
        typer.Option(
            "--policies", "-p", metavar="a,b,...", help="What to try beside plain decoding; by default `all`."
        ),
    ] = None,
    order: Annotated[
        str,
        typer.Option("--order", metavar="a,b,...", help="Of recorded, shuffled, by-kind, switching."),
    ] = DEFAULT_ORDERS,
    start: Annotated[
        str | None, typer.Option("--start", metavar="a,b", help="Of warm, cold; by default both.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds, from 0.")] = 3,
    draws: Annotated[
        int | None,
        typer.Option("--draws", min=1, help="Draw agreement anew so often; for sampled recordings."),
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Decode so many texts at once, in shared passes.")
    ] = 1,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="PATH", help="Where the passes go.")] = REPLAY,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Processes; by default one a core.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Begin the file anew.")] = False,
    form: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """Try policies on a recording in virtual time, and rank them.

    An interrupted replay goes on where it stopped when the same command is given again. A serving trace is checked
    instead: its policy, with the recorded times, must take every decision again.
    """
    usual = DEFAULT_STARTS if batch == 1 else "warm"
    orders, starts = _listed("--order", order), _listed("--start", usual if start is None else start)
    configured = _configured(config, changes)
    require("numpy")
    # Numbers, plugins and tables are loaded only now, so that a wrong option is told at once.
    from paceline.core.plugins.catalogue import Catalogue  # noqa: PLC0415
    from paceline.lab.recording.reader import read_recording  # noqa: PLC0415
    from paceline.lab.replay.choices import choose  # noqa: PLC0415
    from paceline.lab.replay.run import Settings  # noqa: PLC0415
    from paceline.lab.replay.texts import check_drawn  # noqa: PLC0415
    from paceline.lab.replay.trace_check import is_serving  # noqa: PLC0415
    from paceline.lab.short_names import split  # noqa: PLC0415

    check_output(out, inputs=[recording, *([config] if config is not None else [])])
    if not recording.is_file():
        raise ConfigError(
            f"there is no recording {recording}; make one with `paceline record`, or name another"
        )
    catalogue = Catalogue.load()
    names = split(policies or "", ",")
    if policies is not None and not names:
        raise ConfigError("--policies names no policy; leave it out to try all of them")
    if is_serving(recording):
        raise typer.Exit(_checked(recording, catalogue, names, as_json=as_json))
    recorded = read_recording(recording)
    if not recorded.complete:
        count = len(recorded.texts.names())
        warn(f"{printable(recording)} was interrupted or cut off; {count} texts of it are replayed")
    if draws is not None:
        check_drawn(recorded.header)
    chosen = choose(recorded.header, catalogue, names, configured=configured)
    settings = Settings(orders, starts, seeds, draws, batch)
    try:
        result = _replayed(
            recording, out, chosen, settings, header=recorded.header, jobs=jobs or cores(), force=force
        )
    except KeyboardInterrupt as stop:
        warn(f"interrupted; the same command goes on from the last pass in {out}")
        raise typer.Exit(exit_code(stop)) from None
    comparisons = _comparisons(result, recorded, chosen, batch)
    if as_json:
        show_json(
            "replay-summary",
            {
                "recording": dict(result.source),
                "file": str(out),
                "passes": len(result.passes),
                "complete": result.complete,
                "tables": [_values(comparison) for comparison in comparisons],
                "left_out": dict(result.left_out),
            },
        )
    else:
        _show(result, comparisons, recorded.header, out, form)
    raise typer.Exit(int(any(name in result.left_out for name in names)))


def _listed(option: str, value: str) -> Any:
    """Return the values of an option that takes several, each once.

    Raises:
        ConfigError: One is not allowed, or there is none.
    """
    from paceline.lab.results import Order, Start  # noqa: PLC0415

    allowed = get_args(Order if option == "--order" else Start)
    values = list(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
    wrong = [value for value in values if value not in allowed]
    if wrong or not values:
        raise ConfigError(f"{option} takes some of {', '.join(allowed)}; found {', '.join(wrong) or 'none'}")
    return values


def _configured(config: Path | None, changes: Sequence[str] | None) -> PolicyConfig | None:
    """Return the policy of a run file; None where neither a file nor a change was given."""
    if config is None and not changes:
        return None
    return read_config(config, changes).policy


def _replayed(
    path: Path, out: Path, chosen: Chosen, settings: Settings, *, header: Header, jobs: int, force: bool
) -> Results:
    """Replay with a bar on stderr, if that is a terminal."""
    from paceline.lab.replay.run import replay as replay_all  # noqa: PLC0415

    with progress(still=False) as bar:
        task = bar.add_task("replaying", total=None)

        def on_start(known: int, total: int, recoded: Sequence[str]) -> None:
            bar.update(task, total=total, completed=known)
            if known:
                warn(f"{known} of {total} passes were in {out} already")
            if recoded:
                more = f" and {len(recoded) - NAMED} more" if len(recoded) > NAMED else ""
                warn(f"played again, for their code is not that of {out}: {', '.join(recoded[:NAMED])}{more}")

        def on_done(done: Done) -> None:
            label = next(iter(done.task.policies))
            bar.update(task, advance=len(done.task.policies), description=f"{label:<24.24}")

        return replay_all(
            path,
            out,
            chosen,
            settings,
            header=header,
            jobs=jobs,
            force=force,
            on_start=on_start,
            on_done=on_done,
        )


def _comparisons(results: Results, recording: Recording, chosen: Chosen, batch: int) -> list[Comparison]:
    """Compare the policies in each setting, with the oracle where that is soon worked out.

    Nobody knows the best way through texts that are decoded at once: the best static is then one of those run.
    """
    from paceline.lab.comparison import by_setting, compare  # noqa: PLC0415
    from paceline.lab.hindsight import Hindsight  # noqa: PLC0415

    if batch > 1:
        return [compare(setting, statics=list(chosen.static)) for setting in by_setting(results)]
    hindsight = Hindsight(recording)
    comparisons = []
    for setting in by_setting(results):
        key, listed = next(iter(setting.passes.items()))
        recorded = key.draw is None and key.order != "switching"
        soon = sum(row.tokens for row in listed) <= BOUNDED
        comparisons.append(compare(setting, hindsight=hindsight, oracle=recorded and soon))
    return comparisons


def _values(comparison: Comparison) -> dict[str, Any]:
    """Return what the table of a setting shows as JSON-able values."""
    best = comparison.best_static
    return {
        "order": comparison.order,
        "start": comparison.start,
        "rows": [
            {
                "label": row.policy,
                "static": row.static,
                "rate": row.all.tokens_per_second,
                "over_plain": value_of(row.all.speedup),
                "over_static": value_of(row.all.over_static),
                "accepted_tokens": row.all.accepted_tokens,
                "captured": value_of(row.all.captured),
            }
            for row in comparison.ranked
        ],
        "best_static": best.label if best is not None else None,
    }


def _show(
    result: Results, comparisons: Sequence[Comparison], header: Header, out: Path, form: Format
) -> None:
    """Print the tables on stdout, and on stderr what could not be tried."""
    note = " The recording is made up." if header.made_up else ""
    those = "all that were replayed" if "batch" in result.source else "all drafts and gammas"
    show(
        *(part for comparison in comparisons for part in (_title(comparison), _table(comparison, those), "")),
        f"Predicted from recorded agreement and measured times; nothing was decoded.{note} All passes are in {out}; "
        "look at them with `paceline report`.",
        form=form,
    )
    left_out(result.left_out)


def _title(comparison: Comparison) -> Text:
    return Text(f"{TITLES[comparison.order]}; {STARTS[comparison.start]}", style="bold")


def _table(comparison: Comparison, those: str) -> Table:
    """Return one row a policy, with plain decoding and the best static choice of each draft among them."""
    best = comparison.best_static
    table = Table(
        COLUMNS,
        caption=f"best static in hindsight, of {those}: {best.label if best is not None else ''}",
    )
    shown: set[str] = set()
    for row in comparison.ranked:
        draft = row.policy.partition(":")[2]  # the rows are sorted, so the first of a draft is its best
        if not row.static or draft not in shown or row.policy == comparison.plain:
            figures = row.all
            table.add(
                comparison.order,
                comparison.start,
                row.policy,
                figures.tokens_per_second,
                figures.speedup,
                figures.over_static,
                figures.accepted_tokens,
                figures.captured,
                style="dim" if row.static else None,
            )
        if row.static:
            shown.add(draft)
    return table


def _checked(path: Path, catalogue: Catalogue, names: Sequence[str], *, as_json: bool) -> int:
    """Check a trace, try other policies on it as far as it knows, print both, and return the exit code.

    Raises:
        ConfigError: There is no such policy.
        TraceError: The trace is damaged or says too little.
    """
    from paceline.lab.replay.trace_check import check  # noqa: PLC0415

    decisions = check(path, catalogue)
    others, reasons = _others(path, catalogue, names) if names else ({}, {})
    if as_json:
        others_json = {label: {**asdict(tried), "rate": tried.rate} for label, tried in others.items()}
        show_json("serving-check", {**asdict(decisions), "others": others_json, "left_out": reasons})
    else:
        _show_check(decisions, others)
        left_out(reasons)
    return int(decisions.differing > 0)


def _others(
    path: Path, catalogue: Catalogue, names: Sequence[str]
) -> tuple[Mapping[str, Coverage], Mapping[str, str]]:
    from paceline.core.guards.policy import needs_of, requires_of  # noqa: PLC0415
    from paceline.core.plugins.catalogue import build_policy  # noqa: PLC0415
    from paceline.lab.replay.partial_traces import coverage, partly_recorded  # noqa: PLC0415
    from paceline.lab.short_names import EVERYTHING, parse_policy  # noqa: PLC0415

    listed = [name for name in names if name != EVERYTHING]
    if EVERYTHING in names:
        listed = [*dict.fromkeys([*listed, *sorted(catalogue.policies)])]
    configs = {name: parse_policy(name, catalogue) for name in listed}
    recording = partly_recorded(path)
    tried: dict[str, Coverage] = {}
    reasons: dict[str, str] = {}
    for name, config in configs.items():
        try:
            policy = build_policy(config)
            if needs_of(policy) or requires_of(policy).signals:
                raise ConfigError(
                    "it looks at signals, which a trace holds only where the traced policy looked"
                )
            tried[name] = coverage(recording, config)
        except PacelineError as error:
            reasons[name] = str(error)
    return tried, reasons


def _show_check(decisions: Checked, others: Mapping[str, Coverage]) -> None:
    write = sys.stdout.write
    name = decisions.policy.get("name")
    if not decisions.differing:
        write(
            f"{name}: all {decisions.rounds} decisions of {decisions.requests} requests were taken again.\n"
        )
    else:
        write(
            f"{name}: {decisions.differing} of {decisions.rounds} decisions were taken otherwise; the first ones:\n"
        )
        for difference in decisions.otherwise:
            place = f"request {difference.request}, round {difference.round}"
            write(f"  {place}: recorded {difference.recorded}; now {difference.now}\n")
    for label, tried in others.items():
        share, rate = f"{label}: {tried.answered} of {tried.texts} texts answered", tried.rate
        write(f"{share}, {rate:.1f} tokens/s\n" if rate is not None else f"{share}, so it is not ranked\n")
        if tried.first is not None:
            write(f"  first unknown: {tried.first}\n")
