"""What the rounds of a replica add up to; shown on the hub beside what the policy learnt."""

from __future__ import annotations

from collections import Counter

from paceline import Round


class Counts:
    """Sums over rounds, and how often each gamma was planned."""

    def __init__(self) -> None:
        self._sums: Counter[str] = Counter()

    def begin(self) -> None:
        """Count a request."""
        self._sums["requests"] += 1

    def add(self, done: Round) -> None:
        """Count a round."""
        sums = self._sums
        sums["rounds"] += 1
        sums["drafted"] += done.drafted
        sums["accepted"] += done.accepted
        sums["emitted"] += done.emitted
        sums[f"gamma/{done.plan.gamma}"] += 1

    def sums(self) -> dict[str, float]:
        """Return all of them, under names such as "rounds" and "gamma/3"."""
        return {name: float(value) for name, value in self._sums.items()}


def gammas(counts: dict[str, float]) -> dict[int, float]:
    """Return how often each gamma was planned, smallest first."""
    found = {int(name.removeprefix("gamma/")): n for name, n in counts.items() if name.startswith("gamma/")}
    return dict(sorted(found.items()))
