"""A policy that tries everything, so that the time of every kind of round is measured where it is taken: in the loop.

It deals from a shuffled deck that holds each gamma of each draft once, and rests of different lengths, during which
nothing is drafted and caches fall behind. A new deck is shuffled when one is used up.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from paceline.core.records import SIGNALS, Plan, Requirements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.records import Round, RoundStart, Signal, TokenSignals

RESTS = (1, 2, 4, 8)
"""Rounds without drafting; a deck holds each once. A draft falls further behind while others are used."""

LOOKS = 0.25
"""Share of rounds in which signals are looked at, to find out what that costs."""


class Sweep:
    """Plans every gamma of every draft, in an order drawn anew.

    Args:
        drafts: What can be planned.
        gammas: Which gammas, ascending; clipped to the budget where that is less.
        seed: Of the order.
    """

    requires = Requirements(zero_gamma=True, draft_switch="round")

    def __init__(self, drafts: Sequence[str], gammas: Sequence[int], seed: int, *, use_signals: bool) -> None:
        self.needs: frozenset[Signal] = SIGNALS if use_signals else frozenset()
        self._drafts = tuple(drafts)
        self._gammas = tuple(gammas)
        self._random = Random(seed)
        self._deck: list[tuple[str | None, int]] = []
        self._rest = 0

    def plan(self, start: RoundStart) -> Plan:
        """Deal the next card, or go on resting."""
        if self._rest:
            self._rest -= 1
            return Plan(0)
        if not self._deck:
            self._deck = [(draft, gamma) for draft in self._drafts for gamma in self._gammas]
            self._deck += [(None, rest) for rest in RESTS]
            self._random.shuffle(self._deck)
        draft, number = self._deck.pop()
        if draft is None:
            self._rest = number - 1
            return Plan(0)
        gamma = max((gamma for gamma in self._gammas if gamma <= start.budget), default=0)
        return Plan(min(number, gamma), draft, use_signals=self._random.random() < LOOKS)

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Never stop early."""
        return True

    def observe(self, done: Round) -> None:
        """Learn nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state."""
        return {"version": 1}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over nothing."""
