"""`paceline regret`: how far each replayed policy is from the optimum, and from the best static choices."""

from __future__ import annotations

import sys
from dataclasses import replace as with_changes
from typing import TYPE_CHECKING, Annotated

import typer

from paceline.cli._options import REPLAY, JsonOption, RecordingOption, ReplayArgument
from paceline.cli._progress import counted
from paceline.cli._render import WIDTH, show_json
from paceline.core.environment import require
from paceline.core.errors import ConfigError

if TYPE_CHECKING:
    from paceline.lab.recording.model import Recording
    from paceline.lab.regret.verdict import Verdict
    from paceline.lab.replay.results import Pass, Replay


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
    as_json: JsonOption = False,
) -> None:
    """Say how much of what was possible each policy captured, on all texts and on those that vary.

    The tables show one order, start, seed and draw. JSON has every pass, every kind, and all kinds of regret.
    """
    require("numpy")
    from paceline.lab.report.inputs import read_inputs  # noqa: PLC0415 - numpy

    inputs = read_inputs(replay, recording)
    if inputs.recording is None:
        raise ConfigError(f"{inputs.missing}; without it the optimum is not known")
    if as_json:
        verdicts = _judged(inputs.replay, inputs.recording, window)
        show_json("regret", {"window": window, "verdicts": [verdict.to_json() for verdict in verdicts]})
        return
    shown = _shown(inputs.replay, order, start)
    _show(_judged(shown, inputs.recording, window), shown.passes[0])


def _shown(replay: Replay, order: str | None, start: str | None) -> Replay:
    """Return the replay with the passes of one order, start, seed and draw."""
    passes = [one for one in replay.passes if order in {None, one.order} and start in {None, one.start}]
    if not passes:
        known = sorted({f"{one.order} {one.start}" for one in replay.passes})
        raise ConfigError(
            f"the replay has no pass in this order and start; it has: {', '.join(known) or 'none at all'}"
        )
    first = passes[0]
    alike = [one for one in passes if _setting(one) == _setting(first)]
    return with_changes(replay, passes=alike)


def _setting(one: Pass) -> tuple[str, str, int, int | None]:
    return one.order, one.start, one.seed, one.draw


def _judged(replay: Replay, recording: Recording, window: int) -> list[Verdict]:
    """Judge with a bar on a terminal."""
    from paceline.lab.regret.verdict import judge  # noqa: PLC0415

    with counted("optima") as advance:
        return judge(replay, recording, window=window, on_text=lambda _name: advance())


def _show(verdicts: list[Verdict], first: Pass) -> None:
    from rich.console import Console  # noqa: PLC0415

    from paceline.cli.replay import STARTS, TITLES  # noqa: PLC0415
    from paceline.lab.intervals import FEWEST, TOO_FEW  # noqa: PLC0415
    from paceline.lab.regret.table import groups, headroom_table  # noqa: PLC0415
    from paceline.lab.regret.verdict import ALL  # noqa: PLC0415

    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    drawn = f", draw {first.draw}" if first.draw is not None else ""
    console.print(
        f"{TITLES[first.order]}; {STARTS[first.start]}; seed {first.seed}{drawn}", style="bold", markup=False
    )
    for group in groups(verdicts):
        console.print()
        console.print(headroom_table(verdicts, group))
    console.print()
    if any(one.groups[ALL].texts < FEWEST for one in verdicts if ALL in one.groups):
        console.print(f"There are {TOO_FEW}.", markup=False)
    console.print("What each number means: docs/regret.md. --json has every pass and kind.", markup=False)
