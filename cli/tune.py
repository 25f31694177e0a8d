"""`paceline tune`: which policy to use on the recorded texts, as a paragraph and as a run file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paceline.cli._options import REPLAY, JsonOption, RecordingOption, ReplayArgument
from paceline.cli._progress import counted
from paceline.cli._render import show, show_json, warn
from paceline.cli.report import files_given
from paceline.core.environment import require
from paceline.core.files import check_output, write_text

if TYPE_CHECKING:
    from paceline.lab.figures import Times
    from paceline.lab.replay.sources import Sources
    from paceline.lab.results import Results
    from paceline.lab.tuning import Block

TUNED = Path("tuned.yaml")
TRIES = 24
MODELS = ("target", "drafts")
"""Blocks of the recorded run that the run file takes over, so that it decodes with the same models."""


def tune(
    replay: ReplayArgument = REPLAY,
    *,
    recording: RecordingOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Write the run file here.")] = TUNED,
    tries: Annotated[
        int, typer.Option("--tries", min=0, help="At most this many other options are replayed; 0 is none.")
    ] = TRIES,
    as_json: JsonOption = False,
) -> None:
    """Choose a policy on one half of the texts, judge it on the other, and write a run file with it.

    Unless something is surely faster there, the default policy is kept; where nothing beats plain decoding,
    that is chosen.
    """
    require("numpy")
    from paceline.lab import tuning  # noqa: PLC0415 - numpy
    from paceline.lab.hindsight import Hindsight  # noqa: PLC0415
    from paceline.lab.replay.sources import read_sources  # noqa: PLC0415
    from paceline.lab.report.build import is_recorded, main_setting  # noqa: PLC0415

    check_output(out, inputs=files_given(replay, recording))
    sources = read_sources(replay, recording)
    if sources.unfinished is not None:
        warn(sources.unfinished)
    setting = main_setting(sources.results)
    if sources.missing is not None and tries:
        warn(sources.missing)
    # Variations are played on the recording's own draw, and compare with nothing else.
    vary = _Variations(sources, setting) if sources.recording is not None and is_recorded(setting) else None
    hindsight = Hindsight(sources.recording) if sources.recording is not None else None
    choice = tuning.tune(setting, hindsight=hindsight, vary=vary, tries=tries, miss=_miss(sources))
    origin = f"{replay.name} of the recording {sources.sha256[:12]}"
    models = _models(sources)
    write_text(out, tuning.run_file(choice, origin=origin, base=models))
    advice = tuning.paragraph(choice)
    flags = tuning.engine_flags(choice.static, models.get("drafts") or {}) if choice.static else {}
    if as_json:
        show_json("tune", {**asdict(choice), "advice": advice, "flags": flags, "file": str(out)})
        return
    show(advice)
    if flags:
        show(f"\nEngines whose lengths are fixed come nearest by {choice.best_static}:")
    for engine, options in flags.items():
        typer.echo(f"  {engine}: {options}")  # one line, to be copied
    warn(f"the run file is {out}; try it with `paceline generate --config {out}`")


def _miss(sources: Sources) -> float | None:
    from paceline.core.plugins.catalogue import Catalogue  # noqa: PLC0415
    from paceline.lab.validation import validate  # noqa: PLC0415

    checks = validate(sources.recording, Catalogue.load()) if sources.recording is not None else []
    return max((abs(check.error) for check in checks), default=None)


def _models(sources: Sources) -> Mapping[str, Any]:
    config = sources.recording.header.run.get("config", {}) if sources.recording is not None else {}
    return {key: config[key] for key in MODELS if key in config}


class _Variations:
    """Plays variations of policies over the texts of a setting, with a bar on a terminal."""

    def __init__(self, sources: Sources, setting: Results) -> None:
        self._recording, self._setting = sources.recording, setting

    def __call__(self, policies: Mapping[str, Block], most: int) -> Mapping[str, tuple[Block, Times]]:
        from paceline.core.plugins.catalogue import Catalogue  # noqa: PLC0415
        from paceline.lab.tuning import play_variations  # noqa: PLC0415

        assert self._recording is not None
        with counted("options", most) as advance:
            return play_variations(
                self._recording,
                self._setting,
                policies,
                Catalogue.load(),
                most=most,
                on_played=advance,
            )
