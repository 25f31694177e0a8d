"""`paceline find-draft`: which draft pays for a model, measured on this machine, and a run file with it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline.cli._options import NO_DRAFT, DecodingOptions, DraftOption, JsonOption, ModelArgument
from paceline.cli._render import Format, show, show_json, warn
from paceline.cli.bench import open_results, time_blocks
from paceline.core.errors import BackendError, ConfigError
from paceline.core.files import check_output, printable, write_text
from paceline.lab.workloads.named import CHAT, NAMES, SHIPPED, load
from paceline.lab.workloads.prompts import choose as choose_prompts
from paceline.lab.workloads.prompts import encoded

if TYPE_CHECKING:
    from paceline.core.decoder import SpeculativeDecoder
    from paceline.lab.bench.store import BenchFile
    from paceline.lab.workloads.named import Workload

FOUND, RESULTS = Path("run.yaml"), Path("runs")
MAX_NEW_TOKENS = 128
"""Unless something else is said: long enough for a draft to show what it is worth."""


def find_draft(  # noqa: PLR0915 - imports that wait, one a line
    model: ModelArgument = None,
    *,
    options: DecodingOptions,
    draft: DraftOption = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts",
            "-w",
            metavar="FILE|NAME",
            help=f"Prompts: {', '.join(NAMES)}, or a file; {CHAT} by default, {SHIPPED} for a model without a chat "
            "template.",
        ),
    ] = None,
    minutes: Annotated[
        float,
        typer.Option("--minutes", min=0.0, help="After so many no other prompt is begun."),
    ] = 10.0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Write the run file here.")] = FOUND,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            metavar="PATH",
            help=f"Where runs go while they are measured; by default a file of this search alone in {RESULTS}.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace the run file, and measure all again."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure which drafts pay for a model, and write a run file with them.

    Prompt lookup and the suffix draft are tried, and those of --draft or the run file: each alone and in pairs, against
    plain decoding, in turns on every prompt. An interrupted search goes on where it stopped when the same command is
    given again.
    """
    if draft and NO_DRAFT in draft:
        raise ConfigError("plain decoding is always compared: leave out --draft none")
    if out.exists() and not force:
        raise ConfigError(
            f"{printable(out)}: is there already; replace it with --force, or name another file with --out"
        )
    inputs = [path for path in (prompts, options.config) if path is not None]
    for path in (out, results or RESULTS / "find-draft.jsonl"):
        check_output(path, inputs=inputs)
    workload = None if prompts is None else load(prompts)
    run = options.run(
        model=model,
        draft=draft,
        workload=None if workload is None else workload.changes,
        usual_tokens=MAX_NEW_TOKENS,
        generation__stop=[],
    )
    # The loop and the models are loaded only now, so that a wrong option is told at once.
    from paceline.cli.bench_tables import kinds_table, main_table, notes  # noqa: PLC0415
    from paceline.core.plugins.catalogue import Catalogue  # noqa: PLC0415
    from paceline.lab.bench.draft_sets import WITHOUT_MODEL, blocks, choose_sets, find  # noqa: PLC0415
    from paceline.lab.bench.run import BASE, Bench, LoopMode  # noqa: PLC0415
    from paceline.lab.bench.store import bench_file  # noqa: PLC0415
    from paceline.lab.bench.summary import document as bench_document  # noqa: PLC0415
    from paceline.lab.bench.summary import summarise  # noqa: PLC0415
    from paceline.lab.models import load_models  # noqa: PLC0415
    from paceline.lab.short_names import draft_named, with_drafts  # noqa: PLC0415
    from paceline.lab.stats import FEWEST  # noqa: PLC0415
    from paceline.lab.tuning import with_remark  # noqa: PLC0415

    catalogue = Catalogue.load()
    missing = [name for name in WITHOUT_MODEL if draft_named(name, catalogue) not in run.drafts.values()]
    parts = load_models(with_drafts(run, [*run.drafts, *missing], catalogue))
    choice = choose_sets(parts, catalogue)
    base = choice.modes[BASE]
    assert isinstance(base, LoopMode)
    workload = workload or _usual(base.decoder)
    # The kinds take turns, so that what fits the time covers all of them.
    texts = choose_prompts(workload.texts, limit=len(workload.texts))
    limit = parts.config.generation.max_new_tokens
    bench = Bench(
        choice.modes,
        [encoded(text, base.decoder, workload.name) for text in texts],
        limit,
        seed=parts.config.generation.seed,
    )
    results = results or _own_file(bench_file(RESULTS, bench, choice, parts.config), workload.name)
    with open_results(bench, choice, parts.config, results, default=results, force=force) as writer:
        stopped = time_blocks(bench, writer, patience_s=60.0 * minutes)
    summary = summarise(bench, choice, compared=parts.config.generation.sampling().greedy)
    finding = find(summary, parts.drafts)
    if finding is not None and not stopped:
        remark = f"Written by `paceline find-draft` on the prompts of {workload.name}. {finding.sentences()}"
        write_text(out, with_remark(remark, blocks(finding, parts)))
    if as_json:
        settings = {"prompts": workload.name, "max_new_tokens": limit, "minutes": minutes}
        values = bench_document(
            summary, bench, choice, config=parts.config, settings=settings, interrupted=stopped
        )
        chosen = None if finding is None else {**asdict(finding), "advice": finding.sentences()}
        show_json(
            "find-draft",
            {"choice": chosen, "file": None if chosen is None or stopped else str(out), **values},
        )
    else:
        listed = (main_table(summary), kinds_table(summary))
        show(*(part for table in listed if table is not None for part in (table, "")), form=Format.TEXT)
        show(*notes(summary), form=Format.TEXT)
        if finding is not None:
            show(finding.sentences(), form=Format.TEXT)
    if stopped:
        warn(f"interrupted; the same command goes on from the last prompt in {results}")
    elif finding is not None:
        chat = " --chat" if workload.name == CHAT else ""
        warn(f'the run file is {out}; try it: paceline generate --config {out}{chat} "..."')
    else:
        warn(
            f"no choice from fewer than {FEWEST} prompts: give it more --minutes, and it goes on; {out} was not written"
        )
    raise typer.Exit(int(finding is None or stopped or bool(summary.failed) or bool(summary.different)))


def _own_file(file: BenchFile, prompts: str) -> Path:
    """Return the path of a file for one search: of a model, its drafts, prompts, settings and machine."""
    target = file.source["config"]["target"]
    names = (Path(name).stem for name in (str(target.get("model", target["backend"])), prompts))
    digest = sha256(json.dumps(file.source, sort_keys=True).encode()).hexdigest()[:8]
    return file.path / f"find-draft-{re.sub('[^A-Za-z0-9.-]+', '-', '-'.join(names))}-{digest}.jsonl"


def _usual(decoder: SpeculativeDecoder) -> Workload:
    """Return conversations for a target that takes them, and texts to go on with for another."""
    try:
        decoder.encode_chat([{"role": "user", "content": "?"}])
    except BackendError:
        warn(
            f"this model has no chat template, so the prompts are those of {SHIPPED!r}; name others with --prompts"
        )
        return load(SHIPPED)
    return load(CHAT)
