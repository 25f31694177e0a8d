"""Whether replays can be believed: what they predict against what the same policies really took while recording.

For each policy that was measured, the same block plays the same texts in the same order, going on from text to text
as it did then. Its tokens a second, n over predicted seconds, are held against n over measured seconds, over all texts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paceline.core.errors import PacelineError
from paceline.core.plugins.catalogue import build_policy
from paceline.lab.replay.choices import build
from paceline.lab.replay.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

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
        rounds: That the replay took; `measured_rounds` is what was really taken. They differ where a policy decides by
            times, which never are the same twice.
        seconds, measured_s: Likewise; `measured_s` holds the policy's own decisions, which a replay leaves out.
    """

    policy: Mapping[str, Any]
    texts: int
    tokens: int
    rounds: int
    measured_rounds: int
    seconds: float
    measured_s: float

    @property
    def label(self) -> str:
        """Its name in tables."""
        name = str(self.policy.get("name", "?"))
        return f"{name}-{self.policy['gamma']}" if name == "static" and "gamma" in self.policy else name

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


@dataclass(frozen=True, slots=True)
class Validation:
    """All policies that were measured.

    Attributes:
        predictions: One for each.
        left_out: What was measured and cannot be replayed, with the reason.
    """

    predictions: Sequence[Prediction]
    left_out: Mapping[str, str]

    @property
    def error(self) -> float | None:
        """The error over all policies together: of their total seconds; None where nothing was measured."""
        taken = sum(prediction.seconds for prediction in self.predictions)
        return sum(prediction.measured_s for prediction in self.predictions) / taken - 1.0 if taken else None

    @property
    def worst(self) -> Prediction | None:
        """The policy with the largest error, in either direction."""
        return max(self.predictions, key=lambda prediction: abs(prediction.error), default=None)

    @property
    def holds(self) -> bool:
        """Whether no policy is further off than `LARGEST_MISS`; True where nothing was measured."""
        return self.worst is None or abs(self.worst.error) <= LARGEST_MISS

    def verdict(self) -> str:
        """Return one sentence on whether the replay can be believed."""
        worst = self.worst
        if worst is None:
            return "Nothing was measured while recording, so how well replays predict is not known."
        far = f"at most {abs(worst.error):.1%} off (`{worst.label}`: {worst.error:+.1%})"
        if self.holds:
            return f"Replays predict the measured speed of {len(self.predictions)} policies: {far}."
        return (
            f"Replays miss the measured speed: {far}, and {LARGEST_MISS:.0%} is what can be believed. Rankings of "
            "policies closer than that mean nothing; record again on a quiet machine."
        )


def validate(
    recording: Recording,
    catalogue: Catalogue,
    *,
    on_policy: Callable[[str], None] | None = None,
) -> Validation:
    """Replay what was measured while recording.

    Args:
        recording: With its measured runs.
        catalogue: What policies there are.
        on_policy: Told the label of each policy that is done, for a progress bar.
    """
    names = set(recording.texts.names())
    runs: dict[str, list[Measured]] = {}
    for measured in recording.measured:
        if measured.text in names:  # an interrupted recording may lack its last text
            runs.setdefault(json.dumps(measured.policy, sort_keys=True), []).append(measured)
    predictions: list[Prediction] = []
    left_out: dict[str, str] = {}
    for block in runs.values():
        try:
            predictions.append(_predict(recording, catalogue, block))
        except PacelineError as error:
            left_out[str(block[0].policy.get("name", "?"))] = str(error)
        if on_policy is not None:
            on_policy(str(block[0].policy.get("name", "?")))
    return Validation(predictions, left_out)


def _predict(recording: Recording, catalogue: Catalogue, runs: Sequence[Measured]) -> Prediction:
    header = recording.header
    config, seed = build(runs[0].policy, catalogue), _seed(header.run)
    seconds, rounds = 0.0, 0
    for part in _parts(runs):
        player = Simulator(header, build_policy(config, seed))
        for run in part:
            totals = player.play(recording.texts[run.text])
            # Where tokens are drawn, the measured text is another draw, and may have another length.
            seconds += totals.seconds * run.tokens / totals.emitted
            rounds += totals.rounds
    return Prediction(
        policy=runs[0].policy,
        texts=len(runs),
        tokens=sum(run.tokens for run in runs),
        rounds=rounds,
        measured_rounds=sum(run.rounds for run in runs),
        seconds=seconds,
        measured_s=sum(run.seconds for run in runs),
    )


def _parts(runs: Iterable[Measured]) -> list[list[Measured]]:
    """Return the runs of each part of the recording, in which a policy began anew."""
    parts: dict[int, list[Measured]] = {}
    for run in runs:
        parts.setdefault(run.part, []).append(run)
    return list(parts.values())


def _seed(run: Mapping[str, Any]) -> int:
    """Return the seed that measured policies were built with."""
    config = run.get("config")
    generation = config.get("generation") if isinstance(config, dict) else None
    return int(generation.get("seed", 0)) if isinstance(generation, dict) else 0
