"""`paceline record`: what every draft would have done everywhere, and what rounds take, in one file."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paceline.cli._options import RECORDING, JsonOption, MeasuringOptions, row_counts
from paceline.cli._process import exit_code
from paceline.cli._progress import progress
from paceline.cli._render import Table, show, show_json, warn
from paceline.core.environment import describe_machine, require, versions
from paceline.core.errors import ConfigError, TraceError
from paceline.core.files import check_output
from paceline.lab.workloads.named import NAMES, SHIPPED, load
from paceline.lab.workloads.prompts import choose, encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paceline.core.config.blocks import PolicyConfig
    from paceline.core.config.run import RunConfig
    from paceline.core.plugins.catalogue import Catalogue
    from paceline.lab.recording.latency import LatencyProfile
    from paceline.lab.recording.run import RecordedRun, Settings, Step

TOKENS = 96
"""New tokens of each text where no run file says otherwise: enough for policies to learn, minutes for all prompts."""

NOTHING = "none"
LENGTHS = (1, 2, 4, 8, 16)
"""Tokens that the table tells the times of."""

LAGS = (1, 16, 128)
SHOWN = 3
"""Rounds that did something else, shown one by one; the file has more."""


def record(
    context: typer.Context,
    *,
    options: MeasuringOptions,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="PATH", help="The file; compressed if it ends in .zst.")
    ] = RECORDING,
    workload: Annotated[
        str,
        typer.Option(
            "--workload",
            "-w",
            metavar="NAME|FILE",
            help=f"Prompts: {', '.join(NAMES)}, or a file.",
        ),
    ] = SHIPPED,
    synthetic: Annotated[
        str | None,
        typer.Option(
            "--synthetic",
            metavar="NAME|all",
            help="Made-up texts instead, without a model; see docs/workloads.md.",
        ),
    ] = None,
    longest: Annotated[
        int, typer.Option("--longest", min=1, max=256, help="The largest gamma that can be tried later.")
    ] = 16,
    signals: Annotated[
        bool,
        typer.Option(
            "--signals/--no-signals", help="Whether to record signals, for policies that stop by them."
        ),
    ] = True,
    measure: Annotated[
        str | None,
        typer.Option(
            "--measure",
            metavar="a,b,...",
            help="Policies to time for real, to hold replays against; or `none`.",
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            "--batch", metavar="4,8,...", help="Time passes that so many prompts share, for `replay --batch`."
        ),
    ] = None,
    choices: Annotated[
        int,
        typer.Option(
            "--choices",
            min=0,
            max=64,
            help="How many choices of a draft to tell apart, so that trees can be replayed; greedy only.",
        ),
    ] = 0,
    keep_prompts: Annotated[
        bool | None,
        typer.Option(
            "--keep-prompts/--no-keep-prompts",
            help="Whether to store prompts; by default only those shipped with paceline are.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a recording that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Record what every draft would have done at every place, so that any policy can be tried on it with `replay`.

    A recording that was interrupted, or cut short by --limit, goes on when the command is given again, with a larger
    limit or none.
    """
    if synthetic is not None:
        require("numpy")
        from paceline.cli.record_synthetic import record_synthetic  # noqa: PLC0415

        record_synthetic(
            context,
            synthetic,
            out,
            texts=options.limit,
            tokens=options.max_new_tokens,
            longest=longest,
            force=force,
            as_json=as_json,
        )
        return
    check_output(out, inputs=[workload, *([options.config] if options.config is not None else [])])
    prompts_of = load(workload)
    run = options.run(workload=prompts_of.changes, usual_tokens=TOKENS)
    texts = choose(prompts_of.texts, limit=options.limit)
    require("numpy")
    # Models and numbers are loaded only now, so that a wrong option is told at once.
    from paceline.core.plugins.catalogue import Catalogue  # noqa: PLC0415
    from paceline.lab.models import load_models  # noqa: PLC0415
    from paceline.lab.recording.resume import REMEDY, finished  # noqa: PLC0415
    from paceline.lab.recording.run import Settings, record_run  # noqa: PLC0415

    if not force and finished(out, {text.name for text in texts}):
        raise TraceError(f"{out}: a finished recording is there; {REMEDY}")
    catalogue = Catalogue.load()
    if not run.drafts:
        raise ConfigError("nothing to record: the run has no draft; name some (--drafts)")
    settings = Settings(
        longest=longest,
        signals=signals,
        choices=choices,
        keep_prompts=prompts_of.name in NAMES if keep_prompts is None else keep_prompts,
        policies=_policies(measure, catalogue),
        batches=() if batch is None else row_counts(batch, least=2),
    )
    models = load_models(run)
    decoder = models.under(run.policy)  # only encodes; what policies learnt before is left alone
    prompts = [encoded(text, decoder, prompts_of.name) for text in texts]
    what = _what(run, settings, workload=prompts_of.name)
    try:
        with _steps(len(prompts)) as on_step:
            taken = record_run(
                models, catalogue, prompts, out, settings=settings, run=what, replace=force, on_step=on_step
            )
    except KeyboardInterrupt as stop:
        warn(f"interrupted; the same command goes on from the last text in {out}")
        raise typer.Exit(exit_code(stop)) from None
    if as_json:
        show_json(
            "recorded",
            {
                "path": str(out),
                "texts": taken.texts,
                "before": taken.before,
                "costs": taken.costs.to_json(),
                "checks": taken.checks.to_json(),
                "left_out": dict(taken.left_out),
            },
        )
    else:
        _show(taken, out, default=out == RECORDING)


def _policies(measure: str | None, catalogue: Catalogue) -> dict[str, PolicyConfig]:
    from paceline.lab.recording.run import POLICIES  # noqa: PLC0415
    from paceline.lab.short_names import parse_policy, split  # noqa: PLC0415

    if measure == NOTHING:
        return {}
    names = POLICIES if measure is None else split(measure, ",")
    return {name: parse_policy(name, catalogue) for name in names}


def _what(run: RunConfig, settings: Settings, *, workload: str) -> dict[str, Any]:
    """Return what ran, as JSON-able values; the recording that is there goes on where this is the same."""
    return {
        "workload": workload,
        "max_new_tokens": run.generation.max_new_tokens,
        "signals": settings.signals,
        "keep_prompts": settings.keep_prompts,
        "measure": list(settings.policies),
        **({"batch": list(settings.batches)} if settings.batches else {}),
        **({"choices": settings.choices} if settings.choices else {}),
        "config": run.model_dump(
            mode="json", exclude={"policy", "trace", "state", "scope", "on_policy_error"}
        ),
        "versions": versions(),
        "machine": describe_machine(),
    }


@contextmanager
def _steps(texts: int) -> Iterator[Callable[[Step], None]]:
    """Show a bar on stderr if that is a terminal, else a line there for each text, and yield what is told of steps."""
    with progress(still=True) as bar:
        task = bar.add_task("", total=texts)
        began, speed = time.monotonic(), ""

        def on_step(step: Step) -> None:
            nonlocal began, speed
            begins = step.what == "recording"
            if begins and step.done == step.before:
                # What earlier runs did, and what came before the first text, tells nothing of how fast it goes.
                began = time.monotonic()
                bar.reset(task, total=step.texts, completed=step.done)
            if begins and step.tokens:
                speed = f"{step.tokens / (time.monotonic() - began):.1f} tok/s"
            label = f"{f'{step.what} {step.text}':<30.30} {speed}"
            bar.update(task, completed=step.done, description=label, refresh=True)
            if bar.disable and begins:
                # A line a text tells those who look into a log hours later how far it has come.
                details = [step.text, *([speed, _left(step, began)] if speed else [])]
                warn(f"text {step.done + 1} of {step.texts}: {', '.join(details)}")

        yield on_step


def _left(step: Step, began: float) -> str:
    """Return how long the texts that are left will take, from those that were finished."""
    left_s = (time.monotonic() - began) / (step.done - step.before) * (step.texts - step.done)
    return f"about {timedelta(seconds=round(left_s))} left"


def _show(taken: RecordedRun, path: Path, *, default: bool) -> None:
    """Print what was recorded on stdout, and on stderr what is wrong with it."""
    before = f", {taken.before} of them before" if taken.before else ""
    checks, where = taken.checks, "" if default else f" {path}"
    differing = f"{checks.count} of {checks.rounds} real rounds"
    show(
        f"{taken.texts} texts recorded in {path} ({_size(path)}){before}",
        "",
        _table(taken.costs),
        f"The loop itself takes {taken.costs.overhead_s * 1e3:.2f} ms a round; "
        f"1000 tokens of context add {taken.costs.context_s * 1e6:.2f} ms to verifying.",
        *([f"Checked: {differing} did something else than recorded."] if checks.rounds else []),
        "",
        f"Next: paceline replay{where} --policies all",
    )
    for round_ in checks.different[:SHOWN]:
        warn(f"not as recorded (a near-tie of two tokens?): {round_}")
    for name, reason in taken.left_out.items():
        warn(f"policy {name!r} was not measured: {reason}")


def _table(costs: LatencyProfile) -> Table:
    """Return the times of the latency profile in milliseconds."""
    table = Table(
        (
            "milliseconds",
            *(f"{number} tok" for number in LENGTHS),
            *(f"lag {lag}" for lag in LAGS),
            "looking",
        )
    )
    verify = [costs.verify_s(number, costs.context) for number in LENGTHS]
    table.add("verify", *map(_ms, verify), *[""] * len(LAGS), "")
    for name, times in costs.drafts.items():
        drafted = [costs.draft_s(name, number) for number in LENGTHS]
        behind = [costs.draft_s(name, 0, lag) - costs.draft_s(name, 0) for lag in LAGS]
        shown = [_ms(seconds) if times.catch_up else "" for seconds in behind]
        table.add(f"draft {name}", *map(_ms, drafted), *shown, _ms(times.look_s))
    return table


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f}"


def _size(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
