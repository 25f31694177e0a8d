"""`paceline bench`: policies side by side on the same prompts."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from paceline.cli._options import BENCH, FormatOption, JsonOption, MeasuringOptions, refuse_others, row_counts
from paceline.cli._progress import counted, progress
from paceline.cli._render import Column, Format, Table, document, left_out, number, show, show_json, warn
from paceline.core.environment import describe_machine, versions
from paceline.core.errors import PacelineError
from paceline.core.files import check_output, write_text
from paceline.lab.workloads.named import NAMES, SHIPPED, load
from paceline.lab.workloads.prompts import choose as choose_prompts
from paceline.lab.workloads.prompts import encoded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.config.run import RunConfig
    from paceline.core.decoder import SpeculativeDecoder
    from paceline.lab.bench.choices import Choice
    from paceline.lab.bench.decisions import Decision
    from paceline.lab.bench.run import Bench
    from paceline.lab.bench.summary import Summary
    from paceline.lab.results_file import ResultsWriter
    from paceline.lab.workloads.prompts import Prompt, Text

WITH_DECISIONS = {"decisions", "policies", "form", "as_json", "out", "seed"}
"""Options that go with `--decisions`."""

WITHOUT_BATCH = {"backends", "only_varying", "decisions", "results", "force"}
"""Options that do not go with `--batch`."""

BATCHED = ("static-1", "static-2", "static-4", "auto")
"""Policies that decode batches where nobody says otherwise."""


def bench(
    context: typer.Context,
    *,
    options: MeasuringOptions,
    policies: Annotated[
        str | None,
        typer.Option(
            "--policies",
            "-p",
            metavar="a,b,...",
            help="What to run beside plain decoding; `all` is everything.",
        ),
    ] = None,
    backends: Annotated[
        str | None,
        typer.Option(
            "--backends", metavar="a,b,...", help="The same models on each of these, such as hf,graph."
        ),
    ] = None,
    prompts: Annotated[
        str,
        typer.Option(
            "--prompts",
            "-w",
            metavar="FILE|NAME",
            help=f"Prompts: {', '.join(NAMES)}, or a file.",
        ),
    ] = SHIPPED,
    kinds: Annotated[
        str | None, typer.Option("--kinds", metavar="a,b,...", help="Only prompts of these kinds.")
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", "-r", min=1, help="Passes over the prompts.")] = 2,
    batch: Annotated[
        str | None,
        typer.Option("--batch", metavar="1,4,...", help="Decode so many prompts at once, in shared passes."),
    ] = None,
    only_varying: Annotated[
        bool, typer.Option("--only-varying", help="Leave out prompts whose text goes round in circles.")
    ] = False,
    decisions: Annotated[
        bool, typer.Option("--decisions", help="Time the policies' decisions instead, without a model.")
    ] = False,
    form: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the JSON document here.")] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results", metavar="PATH", help=f"Where runs go while they are measured; by default {BENCH}."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Begin anew where an interrupted bench could go on.")
    ] = False,
) -> None:
    """Run several policies in turns on the same prompts and compare them with plain decoding.

    A policy is a name, `static-4`, or `name:key=value`; `config` is the run's own, `lookup` drafts by prompt lookup.
    Policies that choose the draft have all drafts of the run to choose from. With `--batch 1,4,16`, that many prompts
    are decoded at once, and compared with plain decoding of as many. An interrupted bench without it goes on where
    it stopped when the same command is given again.
    """
    if decisions:
        refuse_others(context, WITH_DECISIONS, "--decisions times policies without a model")
        _decisions(policies, seed=options.seed or 0, form=form, as_json=as_json, out=out)
        return
    if batch is not None:
        taken = {option.name for option in context.command.params} - WITHOUT_BATCH
        refuse_others(context, taken, "--batch decodes several prompts at once")
        _batches(
            options,
            _selection(options, prompts, kinds),
            row_counts(batch),
            policies,
            repeats,
            form,
            as_json,
            out,
        )
    for path in (results or BENCH, *([out] if out is not None else [])):
        check_output(path, inputs=[prompts, *([options.config] if options.config is not None else [])])
    selection = _selection(options, prompts, kinds)
    run = selection.run
    # The loop and the tables are loaded only now, so that a wrong option is told at once.
    from paceline.core.plugins.catalogue import Catalogue  # noqa: PLC0415
    from paceline.lab.bench.backends import side_by_side  # noqa: PLC0415
    from paceline.lab.bench.choices import choose  # noqa: PLC0415
    from paceline.lab.bench.run import BASE, Bench, LoopMode  # noqa: PLC0415
    from paceline.lab.bench.summary import document as bench_document  # noqa: PLC0415
    from paceline.lab.bench.summary import summarise  # noqa: PLC0415
    from paceline.lab.models import load_models  # noqa: PLC0415
    from paceline.lab.short_names import split  # noqa: PLC0415

    catalogue = Catalogue.load()
    named = split(policies or "", ",")
    if backends is None:
        choice = choose(load_models(run), catalogue, named)
    else:
        choice, run = side_by_side(run, split(backends, ","), catalogue, named)
    base = choice.modes[BASE]
    assert isinstance(base, LoopMode)
    settings = {**selection.settings(repeats), "only_varying": only_varying}
    timed = Bench(
        choice.modes,
        selection.encoded(base.decoder),
        run.generation.max_new_tokens,
        repeats,
        run.generation.seed,
    )
    with open_results(timed, choice, run, results, default=BENCH, force=force) as writer:
        stopped = time_blocks(timed, writer)
    greedy = run.generation.sampling().greedy
    summary = summarise(timed, choice, compared=greedy, only_varying=only_varying)
    values = bench_document(summary, timed, choice, config=run, settings=settings, interrupted=stopped)
    _write("bench", values, out, as_json=as_json)
    if not as_json:
        _show(summary, choice.left_out, form=form)
        if huge := values["machine"]["huge_page_bytes"]:
            show(f"  {huge / 2**20:.0f} MiB lay in large pages of memory", form=form)
    if stopped:
        warn(f"interrupted; the same command goes on from the last prompt in {results or BENCH}")
    raise typer.Exit(int(stopped or bool(summary.failed) or bool(summary.different)))


def _write(kind: str, values: Mapping[str, Any], out: Path | None, *, as_json: bool) -> None:
    """Write a document where it was asked for: into a file, and on stdout."""
    text = document(kind, values)
    if out is not None:
        write_text(out, text)
    if as_json:
        sys.stdout.write(text)


@dataclass(frozen=True, slots=True)
class Selection:
    """The run and the prompts of a bench.

    Attributes:
        run: The run.
        prompts: Name or file of the workload.
        workload: The name of what was read there.
        texts: The prompts that were chosen of it.
    """

    run: RunConfig
    prompts: str
    workload: str
    texts: Sequence[Text]

    def encoded(self, decoder: SpeculativeDecoder) -> list[Prompt]:
        """Return the prompts as the target of a decoder reads them."""
        return [encoded(text, decoder, self.workload) for text in self.texts]

    def settings(self, repeats: int) -> dict[str, Any]:
        """Return what the document says of how it was measured."""
        generation = self.run.generation
        return {
            "prompts": self.prompts,
            "max_new_tokens": generation.max_new_tokens,
            "repeats": repeats,
            "seed": generation.seed,
        }


def _selection(options: MeasuringOptions, prompts: str, kinds: str | None) -> Selection:
    """Return what the options ask for."""
    workload = load(prompts)
    # The target's own library knows nothing of stop strings, and texts of equal length make times comparable.
    run = options.run(workload=workload.changes, generation__stop=[])
    chosen = choose_prompts(
        workload.texts, kinds=(kinds or "").replace(",", " ").split(), limit=options.limit
    )
    return Selection(run, prompts, workload.name, chosen)


def _batches(
    options: MeasuringOptions,
    selection: Selection,
    sizes: Sequence[int],
    policies: str | None,
    repeats: int,
    form: Format,
    as_json: bool,
    out: Path | None,
) -> NoReturn:
    """Time batches of each size, and show what came of it."""
    if out is not None:
        check_output(
            out, inputs=[selection.prompts, *([options.config] if options.config is not None else [])]
        )
    from paceline.cli.bench_tables import batch_notes, batch_table  # noqa: PLC0415
    from paceline.core.plugins.catalogue import Catalogue  # noqa: PLC0415
    from paceline.lab.bench.batches import measure_batches  # noqa: PLC0415
    from paceline.lab.models import load_models  # noqa: PLC0415
    from paceline.lab.short_names import split  # noqa: PLC0415

    models = load_models(selection.run)
    summaries, values = measure_batches(
        models,
        Catalogue.load(),
        split(policies or "", ",") or BATCHED,
        selection.encoded(models.decoder()),
        sizes,
        selection.settings(repeats),
        time_blocks,
    )
    _write("batches", values, out, as_json=as_json)
    if not as_json:
        show(batch_table(summaries), "", *batch_notes(summaries), form=form)
    failed = {mode: error for each in summaries.values() for mode, error in each.failed.items()}
    for mode, error in failed.items():
        warn(f"mode {mode!r} failed and was left out: {error}")
    different = any(each.different for each in summaries.values())
    raise typer.Exit(int(values["interrupted"] or bool(failed) or different))


def open_results(
    bench: Bench, choice: Choice, run: RunConfig, path: Path | None, *, default: Path, force: bool
) -> ResultsWriter:
    """Open the file of results, and take up what it holds of the same bench.

    Where no file was named, nobody asked for what is in the way in `default`, so that it is replaced, and that is said.
    """
    from paceline.lab.bench.store import bench_file  # noqa: PLC0415

    file = bench_file(path or default, bench, choice, run)
    if path is None and not force and (obstacle := file.obstacle()):
        force = True
        warn(
            f"{file.path} is replaced: {obstacle}; to keep what a bench measures, name a file with --results"
        )
    writer = file.open(bench, force=force)
    if bench.known:
        done = f"{len(bench.known)} of {bench.repeats * len(bench.prompts)} runs over a prompt"
        warn(f"{done} were in {file.path} already; policies learn anew, --force measures all again")
    return writer


def time_blocks(
    bench: Bench, writer: ResultsWriter | None = None, *, patience_s: float | None = None
) -> bool:
    """Run a bench to its end, or until interrupted, and return whether it was.

    Args:
        bench: What is run.
        writer: Told of every block, if anybody is.
        patience_s: Seconds after which no other block is begun.
    """
    with progress(still=True) as bar:
        task = bar.add_task(
            "warming up", total=bench.repeats * len(bench.prompts), completed=len(bench.known)
        )

        def before(mode: str) -> None:
            bar.update(task, description=f"{mode:<14.14}", refresh=True)

        bench.before = before
        try:
            bench.warm_up()
            began = time.monotonic()
            for _block in bench.run(writer):
                bar.advance(task)
                if patience_s is not None and time.monotonic() - began >= patience_s:
                    break
        except KeyboardInterrupt:
            return True
    if writer is not None:
        writer.end()
    return False


def _show(summary: Summary, reasons: Mapping[str, str], *, form: Format) -> None:
    """Print the tables on stdout, and on stderr what went wrong."""
    from paceline.cli.bench_tables import notes, tables  # noqa: PLC0415

    show(*(part for table in tables(summary) for part in (table, "")), form=form)
    show(*notes(summary), form=form)
    for mode, reason in reasons.items():
        warn(f"mode {mode!r} was left out: {reason}")
    for mode, error in summary.failed.items():
        warn(f"mode {mode!r} failed and was left out: {error}")


def _decisions(policies: str | None, *, seed: int, form: Format, as_json: bool, out: Path | None) -> None:
    """Time the decisions of these policies, of all that are installed by default, and print them."""
    if out is not None:
        check_output(out)
    from paceline.core.plugins.catalogue import Catalogue  # noqa: PLC0415
    from paceline.lab.bench.decisions import ACCURACY, GAMMA, ROUNDS, decide  # noqa: PLC0415
    from paceline.lab.short_names import (  # noqa: PLC0415
        EVERYTHING,
        parse_policy,
        split,
    )

    catalogue = Catalogue.load()
    given = split(policies or EVERYTHING, ",")
    named = [name for name in given if name != EVERYTHING]
    names = dict.fromkeys([*(catalogue.policies if EVERYTHING in given else ()), *named])
    runs = [(name, drafts) for name in names for drafts in range(1, len(ACCURACY) + 1)]
    timed: list[Decision] = []
    failed: dict[str, str] = {}
    with counted("timing", len(runs), still=True) as advance:
        for name, drafts in runs:
            try:
                timed.append(decide(name, parse_policy(name, catalogue), drafts, seed=seed))
            except PacelineError as error:
                if name in named:
                    raise
                failed[name] = str(error)
            advance()
    values = {
        "versions": versions(),
        "machine": describe_machine(),
        "settings": {"gamma": GAMMA, "rounds": ROUNDS, "seed": seed},
        "unit": "microseconds",
        "decisions": [asdict(decision) for decision in timed],
        "left_out": failed,
    }
    if out is not None:
        write_text(out, document("decisions", values))
    if as_json:
        show_json("decisions", values)
        return
    tenths = partial(number, digits=1)
    columns = [
        column
        for name in ("plan", "keep_drafting", "observe")
        for column in (Column(name, tenths), Column("90%", tenths, name=f"{name} 90%"))
    ]
    table = Table(("microseconds", "drafts", *columns))
    for decision in timed:
        spans = (decision.plan, decision.keep_drafting, decision.observe)
        times = (microseconds for span in spans for microseconds in (span.median, span.p90))
        table.add(decision.policy, decision.drafts, *times)
    show(table, form=form)
    left_out(failed)
