"""`paceline bench --decisions`: how long policies take to decide."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from paceline.cli.progress import WIDTH
from paceline.core.errors import ConfigError, PacelineError
from paceline.core.outputs import check_output, write_text
from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.bench.choices import EVERYTHING
from paceline.lab.bench.decisions import ACCURACY, GAMMA, ROUNDS, Decision, Span, decide
from paceline.lab.bench.machine import describe, versions
from paceline.lab.policies import parse_policy, split

if TYPE_CHECKING:
    from pathlib import Path

TAKEN = {"decisions", "policies", "as_json", "out", "seed"}
"""The options of `bench` that go with `--decisions`."""


def refuse_others(context: typer.Context) -> None:
    """Refuse options of the command line that mean nothing without a model.

    Raises:
        ConfigError: Names them.
    """
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name not in TAKEN
        and option.name is not None
        and getattr(context.get_parameter_source(option.name), "name", "") == "COMMANDLINE"
    ]
    if given:
        raise ConfigError(
            f"--decisions times policies without a model: leave out {', '.join(given)}; it goes with --policies, "
            "--seed, --json and --out"
        )


def decisions(policies: str | None, *, seed: int, as_json: bool, out: Path | None) -> None:
    """Time the decisions of these policies, of all that are installed by default, and print them."""
    if out is not None:
        check_output(out)
    catalogue = Catalogue.load()
    asked = [name for name in split(policies or EVERYTHING, ",") if name != EVERYTHING]
    names = asked if policies and EVERYTHING not in split(policies, ",") else [*catalogue.policies, *asked]
    errors = Console(stderr=True)
    found: list[Decision] = []
    failed: dict[str, str] = {}
    runs = [(name, drafts) for name in dict.fromkeys(names) for drafts in range(1, len(ACCURACY) + 1)]
    for name, drafts in track(
        runs, "timing", console=errors, disable=not errors.is_terminal, transient=True, auto_refresh=False
    ):
        try:
            found.append(decide(name, parse_policy(name, catalogue), drafts, seed=seed))
        except PacelineError as error:
            if name in asked:
                raise
            failed[name] = str(error)
    text = json.dumps(document(found, failed, seed), indent=2) + "\n"
    if out is not None:
        write_text(out, text)
    if as_json:
        sys.stdout.write(text)
        return
    Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False).print(table(found))
    for name, reason in failed.items():
        sys.stderr.write(f"paceline: {name!r} was left out: {reason}\n")


def document(found: list[Decision], left_out: dict[str, str], seed: int) -> dict[str, Any]:
    """Return the times as JSON-able values."""
    return {
        "kind": "decisions",
        "version": 1,
        "versions": versions(),
        "machine": describe(),
        "settings": {"gamma": GAMMA, "rounds": ROUNDS, "seed": seed},
        "unit": "microseconds",
        "decisions": [asdict(one) for one in found],
        "left_out": left_out,
    }


def table(found: list[Decision]) -> Table:
    """Return one row a policy and number of drafts."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("microseconds", no_wrap=True, overflow="ellipsis")
    for heading in ("drafts", "plan", "90%", "keep", "90%", "observe", "90%"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for one in found:
        spans = (one.plan, one.keep, one.observe)
        shown.add_row(one.policy, str(one.drafts), *(cell for span in spans for cell in _cells(span)))
    return shown


def _cells(span: Span) -> tuple[str, str]:
    return ("", "") if span.median is None or span.p90 is None else (f"{span.median:.1f}", f"{span.p90:.1f}")
