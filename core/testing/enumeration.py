"""Every way the dice can fall, so that a distribution is counted out and not estimated."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from paceline.core.rejection_sampling import Rng

Outcome = TypeVar("Outcome", bound=Hashable)


class _LoadedRng:
    """Draws that fall as a path says, and then on the first token that is possible.

    `path` holds a pair for each throw: which of the possible sides, and the probabilities of those sides.
    """

    def __init__(self, path: list[tuple[int, list[float]]]) -> None:
        self.path = path
        self.probability = 1.0
        self._throws = 0

    def accept(self, probability: float) -> bool:
        """Fall on yes or no."""
        return self._throw([probability, 1.0 - probability]) == 0

    def draw(self, weights: Sequence[float]) -> int:
        """Fall on an index."""
        total = sum(weights)
        return self._throw([weight / total for weight in weights])

    def _throw(self, shares: list[float]) -> int:
        possible = [side for side, share in enumerate(shares) if share > 0.0]
        if self._throws == len(self.path):
            self.path.append((0, [shares[side] for side in possible]))
        chosen, _ = self.path[self._throws]
        self._throws += 1
        self.probability *= shares[possible[chosen]]
        return possible[chosen]


def outcomes(run: Callable[[Rng], Outcome]) -> dict[Outcome, float]:
    """Return the exact distribution of what `run` returns, by running it once for every way its dice can fall.

    `run` must depend on nothing but the dice, and be short: the number of ways grows exponentially. For targets and
    drafts that sample, and for policies over them: the first few tokens must be distributed as the target's own.
    """
    probabilities: dict[Outcome, float] = {}
    path: list[tuple[int, list[float]]] = []
    while True:
        rng = _LoadedRng(path)
        outcome = run(rng)
        probabilities[outcome] = probabilities.get(outcome, 0.0) + rng.probability
        while path and path[-1][0] + 1 == len(path[-1][1]):
            path.pop()
        if not path:
            return probabilities
        chosen, shares = path.pop()
        path.append((chosen + 1, shares))
