"""Ratios of times over texts, with intervals that keep the pairing of policies."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from paceline.lab.regret.spread import Resamples, captured, over

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.lab.bench.stats import Ratio


class Times:
    """Seconds of each text under each policy, on the same texts, resampled together.

    Args:
        seconds: By policy and text.
        texts: Those that count; at least one.
        seed: Of the resamples.
    """

    def __init__(
        self, seconds: Mapping[str, Mapping[str, float]], texts: Sequence[str], *, seed: int = 0
    ) -> None:
        # In the order of their names, so that every order of the same texts gives the same draws.
        self.texts = tuple(sorted(texts))
        self._of = {label: [by[text] for text in self.texts] for label, by in seconds.items()}
        self._draws = Resamples(len(self.texts), seed=seed)

    def total(self, label: str) -> float:
        """Return the seconds of all texts."""
        return math.fsum(self._of[label])

    def speedup(self, label: str, base: str) -> Ratio:
        """Return how many times faster `label` is than `base`: the ratio of total times."""
        found = self._draws.of(over, self._of[base], self._of[label])
        assert found is not None, "rounds take time"
        return found

    def captured(self, label: str, base: str, best: str) -> Ratio | None:
        """Return the share of the time between `base` and `best` that is saved; None where there is none to save."""
        return self._draws.of(captured, self._of[base], self._of[label], self._of[best])
