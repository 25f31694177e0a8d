"""Decoding one prompt with an eye on it: what has come so far is at hand even when the run is cut short."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from paceline.core.generation import Tally, Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.records import Ended, Round


@dataclass(slots=True)
class Decoding:
    """One prompt, as far as it has been decoded.

    Attributes:
        tokens: The tokens delivered.
        gammas: The planned gamma of each round.
    """

    tokens: list[int] = field(default_factory=list)
    gammas: list[int] = field(default_factory=list)
    _tally: Tally = field(default_factory=Tally)

    @property
    def totals(self) -> Totals:
        """Sums over the rounds."""
        return self._tally.totals()

    @property
    def ended(self) -> Ended | None:
        """The reason why the text ended; None while it runs or when it was abandoned."""
        return self._tally.ended

    def add(self, done: Round, waited_s: float) -> None:
        """Take in a round that the caller waited for; before the first one the prompt was read as well."""
        if not self.gammas:
            self._tally.prefill_s = max(0.0, waited_s - done.total_s)
            waited_s -= self._tally.prefill_s
        self.tokens.extend(done.tokens)
        self.gammas.append(done.plan.gamma)
        self._tally.add(done, waited_s)


def _ignore(_done: Round) -> None:
    pass


def decode(
    decoder: SpeculativeDecoder,
    prompt: Sequence[int],
    max_new_tokens: int,
    *,
    into: Decoding | None = None,
    on_round: Callable[[Round], None] = _ignore,
) -> Decoding:
    """Decode a prompt to its end, round by round, into `into`.

    `on_round` is not on the clock. Whatever is raised, by it or by a signal, the request is closed first.
    """
    decoding = Decoding() if into is None else into
    # The iterator is a generator: closing it closes the request and finishes its trace.
    rounds = cast("Generator[Round]", decoder.rounds(prompt, max_new_tokens=max_new_tokens))
    with closing(rounds):
        began = time.perf_counter()
        for done in rounds:
            decoding.add(done, time.perf_counter() - began)
            on_round(done)
            began = time.perf_counter()
    return decoding
