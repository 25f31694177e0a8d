"""`paceline tune`: which policy to use on the recorded texts, as a paragraph and as a run file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paceline.cli._options import REPLAY, JsonOption, RecordingOption, ReplayArgument
from paceline.cli._progress import counted
from paceline.cli._render import show, show_json, warn
from paceline.cli.report import files_given
from paceline.core.environment import require
from paceline.core.errors import PacelineError
from paceline.core.files import check_output, write_text

if TYPE_CHECKING:
    from paceline.lab.report.inputs import Inputs
    from paceline.lab.report.tally import Field

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
    from paceline.lab.regret.hindsight import hindsight  # noqa: PLC0415 - numpy
    from paceline.lab.report import advice  # noqa: PLC0415
    from paceline.lab.report.gather import main_field, redrawn  # noqa: PLC0415
    from paceline.lab.report.inputs import read_inputs  # noqa: PLC0415
    from paceline.lab.report.tuning import tune as choose  # noqa: PLC0415

    check_output(out, inputs=files_given(replay, recording))
    inputs = read_inputs(replay, recording)
    field = main_field(inputs.replay)
    if inputs.missing is not None and tries:
        warn(inputs.missing)
    # Variations are played on the recording's own draw, and compare with nothing else.
    own = inputs.recording is not None and not redrawn(inputs.replay)
    vary = _Variations(inputs, field) if own else None
    statics = hindsight(inputs.recording) if inputs.recording is not None else None
    choice = choose(field, statics=statics, vary=vary, tries=tries, miss=_miss(inputs))
    origin = f"{replay.name} of the recording {inputs.sha256[:12]}"
    text = advice.run_file(choice, origin=origin, base=_models(inputs))
    write_text(out, text)
    if as_json:
        show_json("tune", {**asdict(choice), "advice": advice.paragraph(choice), "file": str(out)})
        return
    show(advice.paragraph(choice))
    warn(f"the run file is {out}; try it with `paceline generate --config {out}`")


def _miss(inputs: Inputs) -> float | None:
    from paceline.core.plugins.catalogue import Catalogue  # noqa: PLC0415
    from paceline.lab.validation import validate  # noqa: PLC0415

    worst = validate(inputs.recording, Catalogue.load()).worst if inputs.recording is not None else None
    return abs(worst.error) if worst is not None else None


def _models(inputs: Inputs) -> Mapping[str, Any]:
    config = inputs.recording.header.run.get("config", {}) if inputs.recording is not None else {}
    return {key: config[key] for key in MODELS if key in config}


class _Variations:
    """Plays variations of policies over the texts of a setting, with a bar on a terminal."""

    def __init__(self, inputs: Inputs, field: Field) -> None:
        self._recording, self._field = inputs.recording, field

    def __call__(
        self, policies: Mapping[str, Mapping[str, Any]], most: int
    ) -> Mapping[str, tuple[Mapping[str, Any], Mapping[str, float]]]:
        from paceline.core.plugins.catalogue import Catalogue  # noqa: PLC0415
        from paceline.lab.report.variations import variations  # noqa: PLC0415

        listed = variations(policies, Catalogue.load(), most=most)
        played: dict[str, tuple[Mapping[str, Any], Mapping[str, float]]] = {}
        with counted("options", len(listed)) as advance:
            for label, block in listed.items():
                # Where it fails, what a policy with this option would need was not recorded.
                with suppress(PacelineError):
                    played[label] = block, self._seconds(block)
                advance()
        return played

    def _seconds(self, block: Mapping[str, Any]) -> Mapping[str, float]:
        from paceline.lab.report.plays import play_again  # noqa: PLC0415

        field = self._field
        texts = [one.text for one in field.plain.outcomes]
        sums = dict.fromkeys(texts, 0.0)
        assert self._recording is not None
        for seed in field.seeds:
            for one in play_again(self._recording, block, texts, start=field.start, seed=seed):
                sums[one.text] += one.seconds / len(field.seeds)
        return sums
