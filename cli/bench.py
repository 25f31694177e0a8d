"""`paceline bench`: policies side by side on the same prompts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from paceline.cli.options import (
    ConfigOption,
    JsonOption,
    MaxOption,
    SeedOption,
    SetOption,
    TemperatureOption,
    TopPOption,
    read_config,
)
from paceline.core.outputs import check_output, write_text
from paceline.lab.prompts import choose as choose_prompts
from paceline.lab.prompts import encoded
from paceline.lab.workloads.named import SHIPPED, load


def bench(
    context: typer.Context,
    *,
    config: ConfigOption = None,
    policies: Annotated[
        str | None,
        typer.Option(
            "--policies",
            "-p",
            metavar="a,b,...",
            help="What to run beside plain decoding; `all` is everything.",
        ),
    ] = None,
    drafts: Annotated[
        str | None,
        typer.Option(
            "--drafts", metavar="a,b,...", help="Only these drafts: the run's own, or small, lookup, ..."
        ),
    ] = None,
    backends: Annotated[
        str | None,
        typer.Option(
            "--backends", metavar="a,b,...", help="The same models on each of these, such as hf,graph."
        ),
    ] = None,
    changes: SetOption = None,
    prompts: Annotated[
        str,
        typer.Option(
            "--prompts",
            "-w",
            metavar="FILE|NAME",
            help="A file of prompts, or shipped, varied, repetitive, bad-pair.",
        ),
    ] = SHIPPED,
    kinds: Annotated[
        str | None, typer.Option("--kinds", metavar="a,b,...", help="Only prompts of these kinds.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most this many prompts.")] = None,
    max_new_tokens: MaxOption = None,
    temperature: TemperatureOption = None,
    top_p: TopPOption = None,
    repeats: Annotated[int, typer.Option("--repeats", "-r", min=1, help="Passes over the prompts.")] = 2,
    only_varying: Annotated[
        bool, typer.Option("--only-varying", help="Leave out prompts whose text goes round in circles.")
    ] = False,
    decisions: Annotated[
        bool, typer.Option("--decisions", help="Time the policies' decisions instead, without a model.")
    ] = False,
    seed: SeedOption = None,
    as_json: JsonOption = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the JSON document here.")] = None,
) -> None:
    """Run several policies in turns on the same prompts and compare them with plain decoding.

    A policy is a name, `static-4`, or `name:key=value`; `config` is the run's own, `lookup` drafts by prompt lookup.
    Policies that choose the draft have all drafts of the run to choose from.
    """
    if decisions:
        from paceline.cli import decisions as timing  # noqa: PLC0415

        timing.refuse_others(context)
        timing.decisions(policies, seed=seed or 0, as_json=as_json, out=out)
        return
    if out is not None:
        check_output(out, inputs=[prompts, *([config] if config is not None else [])])
    workload = load(prompts)
    run = read_config(
        config,
        changes,
        base=workload.changes,
        generation__max_new_tokens=max_new_tokens,
        generation__temperature=temperature,
        generation__top_p=top_p,
        generation__seed=seed,
        # The target's own library knows nothing of them, and texts of equal length make times comparable.
        generation__stop=[],
    )
    texts = choose_prompts(
        workload.texts,
        kinds=(kinds or "").replace(",", " ").split(),
        limit=limit,
    )
    # The loop and the tables are loaded only now, so that a wrong option is told at once.
    from paceline.cli.progress import measured, show  # noqa: PLC0415
    from paceline.core.plugins.catalogue import Catalogue  # noqa: PLC0415
    from paceline.lab.bench.backends import side_by_side  # noqa: PLC0415
    from paceline.lab.bench.choices import choose  # noqa: PLC0415
    from paceline.lab.bench.document import document  # noqa: PLC0415
    from paceline.lab.bench.measure import Measurement  # noqa: PLC0415
    from paceline.lab.bench.modes import LoopMode  # noqa: PLC0415
    from paceline.lab.bench.summary import BASE, summarise  # noqa: PLC0415
    from paceline.lab.drafts import with_drafts  # noqa: PLC0415
    from paceline.lab.parts import load_parts  # noqa: PLC0415
    from paceline.lab.policies import split  # noqa: PLC0415

    catalogue = Catalogue.load()
    if drafts is not None:
        run = with_drafts(run, split(drafts, ","), catalogue)
    wanted = split(policies or "", ",")
    if backends is None:
        choice = choose(load_parts(run), catalogue, wanted)
    else:
        choice, run = side_by_side(run, split(backends, ","), catalogue, wanted)
    base = choice.modes[BASE]
    assert isinstance(base, LoopMode)
    decoder = base.decoder  # for the prompts: it only encodes here
    settings: dict[str, Any] = {
        "prompts": prompts,
        "max_new_tokens": run.generation.max_new_tokens,
        "repeats": repeats,
        "only_varying": only_varying,
        "seed": run.generation.seed,
    }
    measurement = Measurement(
        choice.modes,
        [encoded(text, decoder.encode, workload.name) for text in texts],
        run.generation.max_new_tokens,
        repeats,
        run.generation.seed,
    )
    runs, stopped = measured(measurement)
    result = summarise(
        [one for one in runs if one.mode not in measurement.failed],
        list(choice.modes),
        static=choice.static,
        reference=choice.reference,
        compare=run.generation.sampling().greedy,
        only_varying=only_varying,
        twins=choice.twins,
    )
    found = document(
        result,
        runs,
        config=run,
        choice=choice,
        prompts=measurement.prompts,
        settings=settings,
        failed=measurement.failed,
        interrupted=stopped,
    )
    text = json.dumps(found, indent=2) + "\n"
    if out is not None:
        write_text(out, text)
    if as_json:
        sys.stdout.write(text)
    else:
        show(result, measurement, choice.left_out, stopped=stopped)
    raise typer.Exit(int(stopped or bool(measurement.failed) or bool(result.different)))
