"""The command `paceline-colead`: queries in, programs out; and the experiment."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Annotated

import torch
import typer

from paceline import PacelineError
from paceline_colead.circle import Colead, Decoded, decoder, write
from paceline_colead.domain import DOMAINS, Domain, distinct
from paceline_colead.errors import QueryError
from paceline_colead.evolve import Outcome, Settings, save
from paceline_colead.evolve import evolve as stages
from paceline_colead.execution import examples, execute
from paceline_colead.grammar import Call
from paceline_colead.model import DataSynthesizer
from paceline_colead.page import page, table

LABELLED, UNLABELLED, SHOWN = 48, 400, 8
"""Pairs and queries that the demo trains on, and queries that it shows if it is given none."""

app = typer.Typer(
    name="paceline-colead",
    help="Programs from queries: a grammar drafts, a small model verifies, and each teaches the other.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Stage = Annotated[
    int | None, typer.Option(min=1, help="How far the language has grown; by default as far as it goes.")
]
Steps = Annotated[
    int, typer.Option(min=1, help="Training steps of the first turn of the circle; half of it later.")
]


@app.callback()
def on_one_thread() -> None:
    """Keep torch to one thread: for a model this small, others would only wait, and be counted as processor time."""
    torch.set_num_threads(1)


@app.command()
def demo(
    queries: Annotated[
        list[str] | None, typer.Argument(help="Queries; without any, some that no training has seen.")
    ] = None,
    domain: Annotated[str, typer.Option(help=f"The command language: {' or '.join(DOMAINS)}.")] = "editing",
    stage: Stage = None,
    steps: Steps = 200,
    seed: Annotated[int, typer.Option(help="Of pairs, queries and weights.")] = 0,
) -> None:
    """Train a small model in the circle, then write and execute programs, the grammar drafting (a minute)."""
    if not all(query.strip() for query in queries or ["."]):
        raise QueryError(
            "a query is empty; say what to do, or leave queries out to see some of the demo's own"
        )
    language = Domain.load(domain, stage)
    rng = Random(seed)
    pairs = distinct(language.pairs(rng), LABELLED + UNLABELLED)
    seen = frozenset(pair.query for pair in pairs)
    held_out = distinct(language.pairs(rng, held_out=True), SHOWN, seen)
    data = DataSynthesizer(language, seed=seed)
    colead = Colead(language, data, [pair.query for pair in pairs[LABELLED:]], pairs[:LABELLED])
    for turn, count in enumerate((steps, steps // 2), 1):
        _say(f"turn {turn}: the model ({data.parameters} weights) trains {count} steps")
        colead.round(max(1, count))
        _say(
            f"  on {LABELLED} labelled pairs and {len(colead.pseudo)} of {UNLABELLED} queries that the documentation "
            "made sure of"
        )

    plain, drafted = decoder(data, language), decoder(data, language, colead.nlu)
    warm = colead.unlabelled[:SHOWN]  # what costs measure and acceptance teach is learnt on queries not shown
    for query in warm:
        write(data, plain, language, query)
        write(data, drafted, language, query)
    expected = {pair.query: pair.program for pair in held_out}
    both = []
    for query in queries or list(expected):
        alone = write(data, plain, language, query)
        helped = write(data, drafted, language, query)
        both.append((alone, helped))
        program = colead.answer(query, helped.program)
        typer.echo(f"\n{query}")
        for line in _lines(language, program, expected.get(query), helped):
            typer.echo(f"  {line}")
    typer.echo(f"\n{_summary(both)}")


@app.command()
def evolve(
    domain: Annotated[
        list[str] | None, typer.Option(help="A command language; may be given again. All by default.")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Repetitions, with other pairs, queries and weights.")
    ] = 5,
    labelled: Annotated[int, typer.Option(min=1, help="Labelled pairs that each stage adds.")] = 16,
    unlabelled: Annotated[int, typer.Option(min=1, help="Queries without label that each stage adds.")] = 400,
    test: Annotated[int, typer.Option(min=1, help="Test queries of each stage.")] = 100,
    steps: Steps = 240,
    out: Annotated[Path, typer.Option(help="Folder for the page and the numbers.")] = Path("runs/colead"),
) -> None:
    """Let the languages grow, and compare each synthesizer alone with the circle (an hour)."""
    settings = Settings(
        labelled=labelled, unlabelled=unlabelled, test=test, first_steps=steps, steps=max(1, steps // 2)
    )
    out.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    for seed in range(seeds):
        for name in domain or DOMAINS:
            for outcome in stages(name, seed, settings, say=_say):
                outcomes.append(outcome)
                save(out / "outcomes.json", outcomes, settings)
    (out / "page.html").write_text(page(outcomes, settings), encoding="utf-8")
    typer.echo(table(outcomes))
    typer.echo(f"\n{out / 'page.html'}")


def _say(line: str) -> None:
    """Show progress, on a terminal alone."""
    if sys.stderr.isatty():
        typer.echo(line, err=True)


def _lines(language: Domain, program: Call | None, expected: Call | None, helped: Decoded) -> Iterator[str]:
    if program is None:
        yield "no program: neither the documentation nor the model makes one of it"
        return
    yield str(program) + (
        "" if expected is None else "   (right)" if program == expected else f"   (meant: {expected})"
    )
    results = execute(language.name, program)
    if language.name == "editing":
        changed = [
            f"{old!r} becomes {new!r}" for old, new in zip(examples(), results, strict=True) if old != new
        ]
        yield from changed[:2] or ["changes none of the example lines"]
    else:
        more = f" and {len(results) - 5} more" if len(results) > 5 else ""
        yield "answer: " + (", ".join(results[:5]) or "nothing") + more
    yield (
        f"{len(helped.tokens)} tokens in {helped.rounds} rounds, {helped.accepted} of {helped.drafted} draft tokens "
        "right"
    )


def _summary(both: list[tuple[Decoded, Decoded]]) -> str:
    tokens = sum(len(helped.tokens) for _, helped in both)
    drafted = sum(helped.drafted for _, helped in both)
    accepted = sum(helped.accepted for _, helped in both)
    faster = sum(alone.seconds for alone, _ in both) / max(1e-9, sum(helped.seconds for _, helped in both))
    same = all(alone.tokens == helped.tokens for alone, helped in both)
    return (
        f"{tokens} tokens, {'all' if same else 'NOT all'} those of plain decoding; {accepted} of {drafted} draft "
        f"tokens right; {faster:.2f} times as fast as plain decoding"
    )


def main() -> None:
    """Run the command; what is wrong with a query, a file or an option is one line and exit code 1."""
    try:
        app()
    except PacelineError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
