"""A mode is one way to decode a prompt: our loop under some policy, or the target library's own function."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from paceline.lab.bench.records import Counts

if TYPE_CHECKING:
    from paceline.core.config.blocks import Generate
    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.records import Round


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one run: seconds from prompt to last token, the new tokens, and what our loop knows of them."""

    seconds: float
    tokens: tuple[int, ...]
    counts: Counts | None = None


class Mode(Protocol):
    """One way to decode."""

    @property
    def name(self) -> str:
        """Its name in the table."""
        ...

    def run(self, prompt: Sequence[int], max_new_tokens: int) -> Outcome:
        """Decode one prompt and time it."""
        ...


@dataclass(frozen=True, slots=True)
class LoopMode:
    """Our loop under a policy. The decoder lives as long as the bench, so what the policy learns carries over."""

    name: str
    decoder: SpeculativeDecoder

    def run(self, prompt: Sequence[int], max_new_tokens: int) -> Outcome:
        """Decode one prompt and time it."""
        planned = 0

        def count(done: Round) -> None:
            nonlocal planned
            planned += done.plan.gamma

        began = time.perf_counter()
        done = self.decoder.generate(prompt, max_new_tokens=max_new_tokens, on_round=count)
        seconds = time.perf_counter() - began
        totals = done.totals
        counts = Counts(
            totals.rounds,
            totals.drafted,
            totals.accepted,
            planned,
            totals.seconds,
            totals.draft_s,
            totals.verify_s,
        )
        return Outcome(seconds, done.tokens, counts)


@dataclass(frozen=True, slots=True)
class ReferenceMode:
    """A function of the target's own library."""

    name: str
    generate: Generate

    def run(self, prompt: Sequence[int], max_new_tokens: int) -> Outcome:
        """Decode one prompt and time it."""
        tokens = list(prompt)
        began = time.perf_counter()
        found = self.generate(tokens, max_new_tokens)
        return Outcome(time.perf_counter() - began, tuple(found))
