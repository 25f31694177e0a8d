"""Ratios of times over texts, with intervals that keep the pairing of policies."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from paceline.lab.intervals import captured, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.lab.intervals import Ratio


class Times:
    """Seconds of each text under each policy, on the same texts.

    Args:
        seconds: By policy and text.
        texts: Those that count; at least one.
    """

    def __init__(self, seconds: Mapping[str, Mapping[str, float]], texts: Sequence[str]) -> None:
        # In the order of their names, so that every order of the same texts gives the same rounding.
        self.texts = tuple(sorted(texts))
        self._of = {label: [by[text] for text in self.texts] for label, by in seconds.items()}

    def total(self, label: str) -> float:
        """Return the seconds of all texts."""
        return math.fsum(self._of[label])

    def speedup(self, label: str, base: str) -> Ratio:
        """Return how many times faster `label` is than `base`: the ratio of total times."""
        found = ratio(self._of[base], self._of[label])
        assert found is not None, "rounds take time"
        return found

    def captured(self, label: str, base: str, best: str) -> Ratio | None:
        """Return the share of the time between `base` and `best` that is saved; None where there is none to save."""
        return captured(self._of[base], self._of[label], self._of[best])
