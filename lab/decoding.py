"""Decoding one prompt with an eye on it, even when it is cut short, and timing it against plain decoding in turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paceline.core.generation import Tally, Totals
from paceline.lab.stats import times

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.generation import Failure
    from paceline.core.records import Ended, Round


PATIENCE_S = 20.0
"""About how long the timed pairs may take in all."""

MOST_PAIRS = 5


@dataclass(slots=True)
class Decoding:
    """One prompt, as far as it has been decoded.

    Attributes:
        tokens: The tokens delivered.
        gammas: The planned gamma of each round.
        failures: What failed and was gone on without, once the request is closed.
    """

    tokens: list[int] = field(default_factory=list)
    gammas: list[int] = field(default_factory=list)
    failures: Sequence[Failure] = ()
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
    try:
        follow(decoder.rounds(prompt, max_new_tokens=max_new_tokens), decoding, on_round)
    finally:
        decoding.failures = decoder.failures
    return decoding


def follow(rounds: Generator[Round], into: Decoding, on_round: Callable[[Round], None] = _ignore) -> None:
    """Take the rounds of a request into `into`; `on_round` is not on the clock."""
    # Closing the generator closes the request and finishes its trace.
    with closing(rounds):
        began = time.perf_counter()
        for done in rounds:
            into.add(done, time.perf_counter() - began)
            on_round(done)
            began = time.perf_counter()


@dataclass(frozen=True, slots=True)
class PairedTimes:
    """Result of the pairs. Rates are in tokens per second of decode time.

    Attributes:
        pairs: Timed pairs; both ways were warmed up by one run before.
        rate, plain_rate: Over all pairs, under the policy and plainly.
        slowest, fastest: The lowest and the highest ratio of a single pair.
        identical: Whether every run gave the same tokens; None where tokens are drawn, so that they may differ.
    """

    pairs: int
    rate: float
    plain_rate: float
    slowest: float
    fastest: float
    identical: bool | None

    @property
    def speedup(self) -> float:
        """The policy's rate over that of plain decoding."""
        return _over(self.rate, self.plain_rate)

    def sentence(self) -> str:
        """Return the comparison in one line."""
        pairs = "1 pair" if self.pairs == 1 else f"{self.pairs} pairs"
        return (
            f"measured: {times(self.speedup)} plain decoding (policy {self.rate:.1f} tok/s, plain "
            f"{self.plain_rate:.1f} tok/s, {pairs}, spread {self.slowest:.2f}–{self.fastest:.2f}), "
            f"output {_OUTPUTS[self.identical]}"
        )


_OUTPUTS = {True: "identical", False: "NOT identical", None: "sampled"}


def _over(top: float, bottom: float) -> float:
    return top / bottom if bottom else 0.0


def _nothing(_step: str) -> None:
    pass


def time_pairs(
    policy: SpeculativeDecoder,
    plain: SpeculativeDecoder,
    prompt: Sequence[int],
    max_new_tokens: int,
    *,
    patience_s: float = PATIENCE_S,
    sampled: bool = False,
    on_step: Callable[[str], None] = _nothing,
) -> PairedTimes:
    """Warm both up, then time them in turns; the one that begins changes from pair to pair.

    Short texts get more pairs: as many as fit `patience_s`, at least 1 and at most 5. Where tokens are `sampled`, texts
    differ, and the rates alone are compared.
    """
    ways = {"policy": policy, "plain": plain}
    sums = {"policy": Totals(), "plain": Totals()}
    ratios: list[float] = []
    outputs: list[list[int]] = []
    warm_s = 0.0
    for name, decoder in ways.items():
        on_step(f"warming up: {name}")
        warm = decode(decoder, prompt, max_new_tokens)
        warm_s += warm.totals.seconds + warm.totals.prefill_s
        outputs.append(warm.tokens)
    pairs = max(1, min(MOST_PAIRS, int(patience_s / warm_s))) if warm_s > 0 else MOST_PAIRS
    for pair in range(pairs):
        on_step(f"comparing with plain decoding: pair {pair + 1} of {pairs}")
        rates: dict[str, float] = {}
        for name in ("policy", "plain") if pair % 2 == 0 else ("plain", "policy"):
            gc.collect()
            done = decode(ways[name], prompt, max_new_tokens)
            rates[name] = done.totals.tokens_per_second
            sums[name] += done.totals
            outputs.append(done.tokens)
        ratios.append(_over(rates["policy"], rates["plain"]))
    return PairedTimes(
        pairs=pairs,
        rate=sums["policy"].tokens_per_second,
        plain_rate=sums["plain"].tokens_per_second,
        slowest=min(ratios),
        fastest=max(ratios),
        identical=None if sampled else all(output == outputs[0] for output in outputs),
    )
