"""Timings of every kind of round, taken in the loop while texts are recorded, and compared with the recording.

A policy that tries everything deals from a shuffled deck that holds each gamma of each draft once, and rests of
different lengths, during which nothing is drafted and caches fall behind. A new deck is shuffled when one is used up.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field
from math import ceil
from random import Random
from typing import TYPE_CHECKING, Any, cast

from paceline.core.errors import TraceError
from paceline.core.records import SIGNALS, Plan, Requirements
from paceline.lab.recording.latency_fit import Timing, fit

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.records import Round, RoundStart, Signal, TokenSignals
    from paceline.lab.parts import Parts
    from paceline.lab.prompts import Prompt
    from paceline.lab.recording.latency import LatencyProfile
    from paceline.lab.recording.model import Text

ENOUGH, MANY = 100, 0.05
"""With so many rounds checked, this share of them may differ: near-ties of floats are rare, other causes are not."""


@dataclass(slots=True)
class Checks:
    """Rounds that were compared with what the recording says of them.

    Attributes:
        rounds: How many were compared.
        different: Those that did something else, at most `SHOWN` of them, as JSON-able values.
        count: How many did.
    """

    rounds: int = 0
    count: int = 0
    different: list[Mapping[str, Any]] = field(default_factory=list)

    SHOWN = 20

    def add(self, text: Text, done: Round) -> bool:
        """Compare a round; tell whether the text is still the recorded one after it."""
        rest = len(text.tokens) - done.position
        same = done.tokens == tuple(text.tokens[done.position :][: done.emitted])
        outcome = (done.drafted, min(done.accepted, rest))
        expected = (0, 0)
        if done.plan.draft is not None:
            starts = text.drafts[done.plan.draft]
            drafted = min(done.plan.gamma, int(starts.offered[done.position]))
            expected = (drafted, min(drafted, int(starts.agreed[done.position])))
        self.rounds += 1
        if not same or outcome != expected:
            self.count += 1
            place = {"text": text.name, "place": done.position, "draft": done.plan.draft}
            counts = {"expected": list(expected), "found": list(outcome), "tokens_differ": not same}
            if len(self.different) < self.SHOWN:
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


def timed(
    decoder: SpeculativeDecoder, prompt: Sequence[int], max_new_tokens: int, text: Text, checks: Checks | None
) -> list[Timing]:
    """Decode a prompt and return what its rounds took.

    Args:
        decoder: Under a policy that tries everything.
        prompt: The tokens.
        max_new_tokens: The limit on new tokens.
        text: What was recorded of the prompt.
        checks: Where rounds are compared with it; None where texts differ anyway, since tokens are drawn.
    """
    timings: list[Timing] = []
    rounds = cast("Generator[Round]", decoder.rounds(prompt, max_new_tokens=max_new_tokens))
    try:
        began = time.perf_counter()
        for done in rounds:
            waited = time.perf_counter() - began
            rest_s = max(0.0, waited - done.draft_s - done.verify_s) if timings else None
            draft = done.plan.draft if done.plan.gamma else None
            looked = bool(done.signals)
            times = (done.draft_s, done.verify_s, rest_s)
            timings.append(Timing(draft, done.drafted, done.lag, done.context, looked, *times))
            if checks is not None and not checks.add(text, done):
                checks = None
            began = time.perf_counter()
    finally:
        rounds.close()
    return timings


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


class TimingSweep:
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
        sweep = SweepPolicy(list(parts.drafts), gammas, generation.seed, use_signals=use_signals)
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
