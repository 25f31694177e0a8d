"""Speed of replays, in rounds a second on one core: `python -I tools replay_speed [POLICY ...]`.

A made-up text is played at once from its beginning to its end, the best of three times. The sweep over all static
gammas is given in rounds of all of them together.
"""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING

from paceline.core.errors import PacelineError
from paceline.core.plugins.catalogue import Catalogue, build_policy
from paceline.lab.replay.simulator import Simulator
from paceline.lab.replay.static_gamma import sweep
from paceline.lab.replay.tables import ReplayText
from paceline.lab.short_names import parse_policy
from paceline.lab.workloads.synthetic import Cell, made_up

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paceline.core.config.blocks import PolicyConfig
    from paceline.lab.recording.model import Header

TEXTS, TOKENS = 20, 1000
TIMES = 3
STATIC = ("static-0", "static-4")


def main(names: list[str]) -> None:
    """Print one line a policy: all that are installed by default."""
    catalogue = Catalogue.load()
    recording = made_up(Cell(0.12, "regimes"), texts=TEXTS, tokens=TOKENS)
    header, texts = recording.header, list(recording)
    rounds = sum(total.rounds for totals in sweep(header, texts) for total in totals)
    _say("sweep of static", rounds, _seconds(lambda: [None for _ in sweep(header, texts)]))
    replayed = [ReplayText.of(text, header) for text in texts]
    for name in names or [*STATIC, *sorted({*catalogue.policies} - {"static"})]:
        config = parse_policy(name, catalogue)
        try:
            rounds, seconds = _played(header, replayed, config)
        except PacelineError as error:
            sys.stdout.write(f"{name:<20} left out: {error}\n")
            continue
        _say(name, rounds, seconds)


def _played(header: Header, texts: Sequence[ReplayText], config: PolicyConfig) -> tuple[int, float]:
    """Return how many rounds a policy takes for some texts, and the seconds of the fastest try."""
    rounds = 0

    def play() -> None:
        nonlocal rounds
        simulator = Simulator(header, build_policy(config))
        rounds = sum(simulator.play(text).rounds for text in texts)

    seconds = _seconds(play)
    return rounds, seconds


def _seconds(run: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(TIMES):
        began = perf_counter()
        run()
        best = min(best, perf_counter() - began)
    return best


def _say(name: str, rounds: int, seconds: float) -> None:
    sys.stdout.write(f"{name:<20} {rounds / seconds:>10,.0f} rounds/s\n")


if __name__ == "__main__":
    main(sys.argv[1:])
