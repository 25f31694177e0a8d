"""Hedge with fixed share: a weight for each expert, moved by what each would have lost.

After a trial with losses f_i in 0..1 (Freund and Schapire 1997; the rate as in Cesa-Bianchi and Lugosi 2006,
section 2.3; the share after Herbster and Warmuth 1998)

    w_i <- w_i exp(-eta f_i),     eta = sqrt(8 ln N / t),     w_i <- (1 - s) w_i + s mean(w)

The share s keeps every expert within reach of a comeback and forgets over about 1/s trials, so t counts no further
than that: a rate that went on falling would make comebacks slower for ever. Experts whose loss is not known sleep
(Freund et al. 1997): those awake divide among themselves the weight they had, and the sleepers keep theirs.
"""

from __future__ import annotations

from math import exp, log, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LEAST = 1e-12  # with a share of 0 nothing else keeps a weight from vanishing for good


class Weights:
    """The weights of experts, by name, 1 on average.

    Args:
        share: s.

    Attributes:
        trials: t.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._horizon = 1.0 / share if share else float("inf")
        self.trials = 0.0
        self.known: dict[str, float] = {}

    def of(self, expert: str) -> float:
        """Return the weight of an expert."""
        return self.known.get(expert, 1.0)

    def update(self, losses: Mapping[str, float], experts: Iterable[str]) -> None:
        """Move the weights of all `experts` after a trial whose losses are known of two or more of them."""
        everyone = list(experts)
        self.trials = min(self.trials + 1.0, self._horizon)
        eta = sqrt(8.0 * log(len(everyone)) / self.trials)
        before = sum(map(self.of, losses))
        moved = {expert: self.of(expert) * exp(-eta * loss) for expert, loss in losses.items()}
        scale = before / sum(moved.values())
        self.known.update({expert: max(weight * scale, LEAST) for expert, weight in moved.items()})
        mean = sum(map(self.of, everyone)) / len(everyone)
        for expert in everyone:
            self.known[expert] = (1.0 - self._share) * self.of(expert) + self._share * mean
