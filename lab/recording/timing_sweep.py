"""Timings of every kind of round, taken in the loop while texts are recorded, and compared with the recording.

A policy that tries everything deals from a shuffled deck that holds each gamma of each draft once, and rests of
different lengths, during which nothing is drafted and caches fall behind. A new deck is shuffled when one is used up.
"""

from __future__ import annotations

import gc
import time
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from math import ceil
from random import Random
from typing import TYPE_CHECKING, Any, cast

from paceline.core.errors import TraceError
from paceline.core.records import SIGNALS, Plan, Requirements
from paceline.lab.recording.latency_fit import Timing, fit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.protocols import Policy
    from paceline.core.records import Round, RoundStart, Signal
    from paceline.lab.models import Models
    from paceline.lab.recording.latency import LatencyProfile
    from paceline.lab.recording.model import Text
    from paceline.lab.workloads.prompts import Prompt

KEPT = 20
"""Rounds that did something else, told one by one."""

ENOUGH, MANY = 100, 0.05
"""With so many rounds checked, this share of them may differ: near-ties of floats are rare, other causes are not."""


@dataclass(slots=True)
class Checks:
    """Rounds that were compared with what the recording says of them.

    Attributes:
        rounds: How many were compared.
        different: Those that did something else, at most `KEPT` of them, as JSON-able values.
        count: How many did.
    """

    rounds: int = 0
    count: int = 0
    different: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, text: Text, done: Round, begin: int = 0) -> bool:
        """Compare a round of a decoding that began at a place; tell whether it still is the text that was recorded."""
        position = begin + done.position
        rest = len(text.tokens) - position
        same = done.tokens == tuple(text.tokens[position:][: done.emitted])
        outcome = (done.drafted, min(done.accepted, rest))
        expected = (0, 0)
        if done.plan.draft is not None:
            starts = text.drafts[done.plan.draft]
            drafted = min(done.plan.gamma, int(starts.offered[position]))
            expected = (drafted, min(drafted, int(starts.agreed[position])))
        self.rounds += 1
        if not same or outcome != expected:
            self.count += 1
            place = {"text": text.name, "place": position, "draft": done.plan.draft}
            counts = {"expected": list(expected), "found": list(outcome), "tokens_differ": not same}
            if len(self.different) < KEPT:
                self.different.append(place | {"gamma": done.plan.gamma} | counts)
        return same

    def to_json(self) -> dict[str, Any]:
        """Return what was found."""
        return {"checked": self.rounds, "differed": self.count, "different": list(self.different)}

    def refuse(self) -> None:
        """Refuse a recording that says something else than what happens.

        Raises:
            TraceError: Many rounds did something else.
        """
        if self.rounds >= ENOUGH and self.count > MANY * self.rounds:
            raise TraceError(
                f"{self.count} of {self.rounds} real rounds did something else than was recorded, such as "
                f"{self.different[0]} (drafted and accepted). Replays would be wrong. Is the target or a draft not "
                "deterministic, or does a draft propose other tokens when asked for fewer? Leave it out (--drafts), or "
                "use a longer dtype"
            )


RESTS = (1, 2, 4, 8)
"""Rounds without drafting; a deck holds each once. A draft falls further behind while others are used."""

LOOKS = 0.25
"""Share of rounds in which signals are looked at, to find out what that costs."""


class SweepPolicy:
    """Plans every gamma of every draft, in an order drawn anew.

    Args:
        drafts: What can be planned.
        gammas: Which gammas, ascending; clipped to the budget where that is less.
        seed: Of the order.

    Attributes:
        deck_rounds: Rounds that a whole deck takes.
    """

    requires = Requirements(zero_gamma=True, draft_switch="round")

    def __init__(self, drafts: Sequence[str], gammas: Sequence[int], seed: int, *, use_signals: bool) -> None:
        self.needs: frozenset[Signal] = SIGNALS if use_signals else frozenset()
        self.deck_rounds = len(drafts) * len(gammas) + sum(RESTS)
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

    def observe(self, done: Round) -> None:
        """Learn nothing."""


SWEPT = 64
"""Texts that rounds are timed on at most, spread over all of them."""

DECKS = 64
"""Times that every card is dealt, over all texts and where they are long enough: more would tell hardly more."""

FEWEST_DECKS = 3
"""Decks below which the last text serves again: with fewer timings of a kind, one slow round would decide."""

AGAIN = 20
"""Further passes over the last text at most, where texts are few and short."""

ROUND_TOKENS = 3
"""Tokens that a round delivers at most on average, to tell whether decks fit into the rest of a text."""


def spread_over(names: Sequence[str], most: int) -> frozenset[str]:
    """Return at most `most` of the names, evenly spread over all of them."""
    if most >= len(names):
        return frozenset(names)
    return frozenset(names[index * len(names) // most] for index in range(most))


class TimingSweep:
    """Takes rounds of every kind, and knows what they took.

    A text is decoded once at most, from a place drawn for it where its share of the decks is dealt before its end, so
    that timing costs no more than decoding plainly, and contexts of all lengths come up.

    Args:
        models: Target and drafts.
        longest: The largest gamma tried.
        names: Of all texts, in their order.
        use_signals: Whether looking at signals is timed.
        timings: Those of earlier runs.
    """

    def __init__(
        self,
        models: Models,
        longest: int,
        names: Sequence[str],
        *,
        use_signals: bool,
        timings: Sequence[Timing] = (),
    ) -> None:
        generation = models.config.generation
        allowed = models.target.capabilities.gammas
        gammas = [gamma for gamma in range(1, longest + 1) if allowed is None or gamma in allowed]
        policy = SweepPolicy(list(models.drafts), gammas, generation.seed, use_signals=use_signals)
        self.decoder = models.trying(cast("Policy", policy))  # all that it leaves out has a default
        self.checks = Checks()
        self._drafts = tuple(models.drafts)
        self._timings = list(timings)
        self._max_new_tokens = generation.max_new_tokens
        self._certain = generation.sampling().greedy
        self._chosen = spread_over(names, SWEPT)
        self._rounds = policy.deck_rounds * ceil(DECKS / len(self._chosen))
        self._fewest = policy.deck_rounds * FEWEST_DECKS

    def text(self, text: Text, prompt: Prompt) -> list[Timing]:
        """Time rounds on a text, if it is one of those chosen."""
        if text.name not in self._chosen:
            return []
        room = len(text.tokens) - self._rounds * ROUND_TOKENS
        return self._timed(text, prompt, begin=Random(text.name).randrange(room + 1) if room > 0 else 0)

    def complete(self, text: Text, prompt: Prompt) -> list[Timing]:
        """Time rounds on the last text until every kind is known."""
        timings: list[Timing] = []
        for _ in range(AGAIN):
            # The rounds of policies come in few kinds; only those of a sweep are timed in whole.
            swept = sum(timing.rest_s is not None for timing in self._timings)
            if swept >= self._fewest and self.costs() is not None:
                break
            timings += self._timed(text, prompt, begin=0)
        return timings

    def costs(self) -> LatencyProfile | None:
        """Return what rounds take as far as it is known; None while something was never measured."""
        return fit(self._timings, self._drafts)

    def line(self, name: str, timings: Sequence[Timing]) -> dict[str, Any]:
        """Return the timings of a text as a line of the recording."""
        return {"kind": "timings", "text": name, "rounds": [timing.to_json() for timing in timings]}

    def _timed(self, text: Text, prompt: Prompt, *, begin: int) -> list[Timing]:
        """Decode a text from a place on, and compare it with what was recorded unless tokens are drawn."""
        timings: list[Timing] = []
        checks = self.checks if self._certain else None
        most = len(text.tokens) - begin if begin else self._max_new_tokens
        # Garbage of the recording must not be collected on these rounds' time.
        gc.collect()
        rounds = self.decoder.rounds([*prompt.tokens, *text.tokens[:begin]], max_new_tokens=most)
        with closing(rounds):
            began = time.perf_counter()
            for done in islice(rounds, self._rounds):
                waited_s = time.perf_counter() - began
                # Before the first round the prompt is read as well.
                rest_s = max(0.0, waited_s - done.draft_s - done.verify_s) if timings else None
                timings.append(Timing.of(done, rest_s))
                if checks is not None and not checks.add(text, done, begin):
                    checks = None
                began = time.perf_counter()
        self.add(timings)
        return timings

    def add(self, timings: Sequence[Timing]) -> None:
        """Take in timings of other rounds of the same models."""
        self._timings += timings
