"""Times rounds of every kind on the texts of a recording, while it is taken."""

from __future__ import annotations

import gc
from math import ceil
from typing import TYPE_CHECKING, Any

from paceline.lab.recording.fitting import fit
from paceline.lab.recording.sweep import Sweep
from paceline.lab.recording.timing import Checks, Timing, timed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.lab.parts import Parts
    from paceline.lab.prompts import Prompt
    from paceline.lab.recording.latency import LatencyProfile
    from paceline.lab.recording.model import Text

SWEPT = 64
"""Texts that rounds are timed on, spread over all of them; enough for every time, and memory stays bounded."""

SWEEPS = 60
"""Times that texts are decoded for timing at least; where there are fewer texts, each serves more than once."""

PATIENCE = 20
"""Further tries on the last text, where some draft was not measured yet because texts are few and short."""


def spread_over(names: Sequence[str], most: int) -> frozenset[str]:
    """Return at most `most` of the names, evenly spread over all of them."""
    if most >= len(names):
        return frozenset(names)
    return frozenset(names[index * len(names) // most] for index in range(most))


class Sweeper:
    """Takes rounds of every kind, and knows what they took.

    Args:
        parts: Target and drafts.
        longest: The largest gamma tried.
        names: Of all texts, in their order.
        look: Whether looking at signals is timed.
        timings: Those of earlier runs.
    """

    def __init__(
        self,
        parts: Parts,
        longest: int,
        names: Sequence[str],
        *,
        use_signals: bool,
        timings: Sequence[Timing] = (),
    ) -> None:
        generation = parts.config.generation
        allowed = parts.target.capabilities.gammas
        gammas = [gamma for gamma in range(1, longest + 1) if allowed is None or gamma in allowed]
        sweep = Sweep(list(parts.drafts), gammas, generation.seed, use_signals=use_signals)
        self.decoder = parts.trying(sweep)
        self.checks = Checks()
        self._drafts = tuple(parts.drafts)
        self._timings = list(timings)
        self._max_new_tokens = generation.max_new_tokens
        self._certain = generation.sampling().greedy
        self._chosen = spread_over(names, SWEPT)
        self._passes = ceil(SWEEPS / len(self._chosen))

    def text(self, text: Text, prompt: Prompt) -> list[Timing]:
        """Time rounds on a text, if it is one of those chosen."""
        timings: list[Timing] = []
        # Garbage of the recording must not be collected on these rounds' time.
        gc.collect()
        for _ in range(self._passes if text.name in self._chosen else 0):
            timings += self._once(text, prompt)
        return timings

    def complete(self, text: Text, prompt: Prompt) -> list[Timing]:
        """Time rounds on the last text until every draft is known, or patience ends."""
        timings: list[Timing] = []
        for _ in range(PATIENCE):
            if self.costs() is not None:
                break
            timings += self._once(text, prompt)
        return timings

    def costs(self) -> LatencyProfile | None:
        """Return what rounds take as far as it is known; None while something was never measured."""
        return fit(self._timings, self._drafts)

    def line(self, name: str, timings: Sequence[Timing]) -> dict[str, Any]:
        """Return the timings of a text as a line of the recording."""
        return {"kind": "timings", "text": name, "rounds": [timing.to_json() for timing in timings]}

    def _once(self, text: Text, prompt: Prompt) -> list[Timing]:
        checks = self.checks if self._certain else None
        timings = timed(self.decoder, prompt.tokens, self._max_new_tokens, text, checks)
        self._timings += timings
        return timings
