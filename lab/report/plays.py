"""A pass of a replay played again, or played with other options: the same texts in the same order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.core.plugins.catalogue import Catalogue, build_policy
from paceline.lab.replay.choosing import build
from paceline.lab.simulate import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from paceline.core.records import Round
    from paceline.lab.recording.model import Recording
    from paceline.lab.replay.results import Outcome


def play_again(
    recording: Recording,
    policy: Mapping[str, Any],
    texts: Sequence[str],
    *,
    start: str,
    seed: int,
    on_round: Callable[[Round], None] | None = None,
) -> Iterator[Outcome]:
    """Yield the outcome of each text as it is played, under one policy that goes on learning, or cold under new ones.

    Raises:
        PacelineError: The policy cannot be built here, or needs what was not recorded.
    """
    config, header = build(policy, Catalogue.load()), recording.header
    simulator = Simulator(header, build_policy(config, seed), on_round=on_round)
    for number, text in enumerate(texts):
        if number and start == "cold":
            simulator = Simulator(header, build_policy(config, seed), on_round=on_round)
        yield simulator.play(recording.texts[text])
