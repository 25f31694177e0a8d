"""Validation of replays: what they predict against what the same policies really took while recording.

For each policy that was measured, the same block plays the same texts in the same order, going on from text to text
as it did then. Its tokens a second, n over predicted seconds, are held against n over measured seconds, over all texts.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paceline.core.errors import PacelineError
from paceline.lab.replay.passes import play_pass
from paceline.lab.results import Key
from paceline.lab.short_names import static_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.plugins.catalogue import Catalogue
    from paceline.lab.recording.model import Measured, Recording

LARGEST_MISS = 0.05
"""A replay whose prediction is further off than this is not to be believed, and says so."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One policy, replayed and measured.

    Attributes:
        policy: Its block, as JSON-able values.
        texts, tokens: That were measured, and are in the recording.
        seconds: Of the replay; `measured_s` holds the policy's own decisions too, which a replay leaves out.
    """

    policy: Mapping[str, Any]
    texts: int
    tokens: int
    seconds: float
    measured_s: float

    @property
    def label(self) -> str:
        """Its name in tables."""
        name = str(self.policy.get("name", "?"))
        return static_name(self.policy["gamma"]) if name == "static" and "gamma" in self.policy else name

    @property
    def predicted(self) -> float:
        """Predicted tokens a second."""
        return self.tokens / self.seconds

    @property
    def measured(self) -> float:
        """Measured tokens a second."""
        return self.tokens / self.measured_s

    @property
    def error(self) -> float:
        """By how much the prediction is too fast, as a share of what was measured."""
        return self.predicted / self.measured - 1.0


def validate(recording: Recording, catalogue: Catalogue) -> list[Prediction]:
    """Replay what was measured while recording; policies that cannot be replayed here are left out."""
    names = set(recording.texts.names())
    runs: dict[str, list[Measured]] = {}
    for measured in recording.measured:
        if measured.text in names:  # an interrupted recording may lack its last text
            runs.setdefault(json.dumps(measured.policy, sort_keys=True), []).append(measured)
    predictions = []
    for block in runs.values():
        with suppress(PacelineError):
            predictions.append(_predict(recording, catalogue, block))
    return predictions


def _predict(recording: Recording, catalogue: Catalogue, runs: Sequence[Measured]) -> Prediction:
    policy, key, seconds = runs[0].policy, Key("", seed=_seed(recording.header.run)), 0.0
    # A policy began anew in each part of the recording.
    for number in dict.fromkeys(run.part for run in runs):
        part = [run for run in runs if run.part == number]
        played = play_pass(recording, policy, [run.text for run in part], key, catalogue=catalogue)
        # Where tokens are drawn, the measured text is another draw, and may have another length.
        seconds += sum(
            measurement.seconds * run.tokens / measurement.tokens
            for run, measurement in zip(part, played, strict=True)
        )
    return Prediction(
        policy, len(runs), sum(run.tokens for run in runs), seconds, sum(run.seconds for run in runs)
    )


def _seed(run: Mapping[str, Any]) -> int:
    """Return the seed that measured policies were built with."""
    config = run.get("config")
    generation = config.get("generation") if isinstance(config, dict) else None
    return int(generation.get("seed", 0)) if isinstance(generation, dict) else 0
