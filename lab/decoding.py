"""Decoding one prompt with an eye on it: what has come so far is at hand even when the run is cut short."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from paceline.core.generation import Totals

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
        totals: Sums over the rounds.
        ended: Why the text ended; None while it runs or when it was abandoned.
    """

    tokens: list[int] = field(default_factory=list)
    gammas: list[int] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)
    ended: Ended | None = None

    def add(self, done: Round, waited_s: float) -> None:
        """Take in a round that the caller waited for; before the first one the prompt was read as well."""
        prefill_s = 0.0 if self.gammas else max(0.0, waited_s - done.total_s)
        self.tokens.extend(done.tokens)
        self.gammas.append(done.plan.gamma)
        self.ended = done.ended
        self.totals += Totals(
            1,
            done.drafted,
            done.accepted,
            done.emitted,
            prefill_s,
            done.draft_s,
            done.verify_s,
            waited_s - prefill_s,
        )


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
