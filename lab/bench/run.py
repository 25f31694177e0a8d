"""A bench: modes, which are ways to decode, take turns on each prompt, one finished block after the other.

A machine drifts: it warms up, slows down, does other work. Modes that take turns meet the same drift, and an order
drawn anew for each block keeps one mode from always following the same other one.
"""

from __future__ import annotations

import gc
import random
import time
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple, Protocol

from paceline.core.generation import Totals
from paceline.lab.repetition import Repetition, repetition
from paceline.lab.results import Measurement, Results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from paceline.core.config.blocks import Generate
    from paceline.core.decoder import SpeculativeDecoder
    from paceline.lab.workloads.prompts import Prompt

BASE = "plain"
"""Plain decoding in our own loop: what every speed-up is measured against."""

WARM_UP_TOKENS = 32


class Timed(NamedTuple):
    """One decoding: seconds from the prompt's tokens to the last new token, the new tokens, and the sums of our loop.

    Of a library's own decoding, the totals hold tokens and seconds alone.
    """

    seconds: float
    tokens: tuple[int, ...]
    totals: Totals


class Mode(Protocol):
    """One way to decode."""

    @property
    def name(self) -> str:
        """Its name in tables."""
        ...

    def run(self, prompt: Sequence[int], max_new_tokens: int) -> Timed:
        """Decode one prompt and time it."""
        ...


@dataclass(frozen=True, slots=True)
class LoopMode:
    """Our loop under a policy. The decoder lives as long as the bench, so what the policy learns carries over."""

    name: str
    decoder: SpeculativeDecoder

    def run(self, prompt: Sequence[int], max_new_tokens: int) -> Timed:
        """Decode one prompt and time it."""
        began = time.perf_counter()
        done = self.decoder.generate(prompt, max_new_tokens=max_new_tokens)
        return Timed(time.perf_counter() - began, done.tokens, done.totals)


@dataclass(frozen=True, slots=True)
class ReferenceMode:
    """A function of the target's own library."""

    name: str
    generate: Generate

    def run(self, prompt: Sequence[int], max_new_tokens: int) -> Timed:
        """Decode one prompt and time it."""
        tokens = list(prompt)
        began = time.perf_counter()
        new = self.generate(tokens, max_new_tokens)
        seconds = time.perf_counter() - began
        return Timed(seconds, tuple(new), Totals(emitted=len(new), seconds=seconds))


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where a mode's output differs from plain decoding's on the same prompt.

    Attributes:
        position: Index of the first new token that differs.
        expected, actual: The tokens there; None where that output had already ended.
    """

    mode: str
    prompt: str
    repeat: int
    position: int
    expected: int | None
    actual: int | None


@dataclass(frozen=True, slots=True)
class Block:
    """All modes on one prompt, in the order they run."""

    repeat: int
    prompt: str
    order: tuple[str, ...]


def blocks(modes: Sequence[str], prompts: Sequence[str], *, repeats: int, seed: int = 0) -> Iterator[Block]:
    """Yield the blocks of a bench: every prompt once, then every prompt again, `repeats` times.

    The order in a block depends on the seed, the repeat and the prompt's name only, so that it stays the same
    when prompts are added or left out.
    """
    for repeat in range(repeats):
        for prompt in prompts:
            order = list(modes)
            random.Random(f"{seed}/{repeat}/{prompt}").shuffle(order)
            yield Block(repeat, prompt, tuple(order))


def first_difference(
    expected: Sequence[int], actual: Sequence[int]
) -> tuple[int, int | None, int | None] | None:
    """Return position and both tokens of the first difference, or None when the outputs are identical."""
    for position, (left, right) in enumerate(zip_longest(expected, actual)):
        if left != right:
            return position, left, right
    return None


def _ignore(_mode: str) -> None:
    pass


@dataclass(slots=True)
class Bench:
    """A bench under way.

    Args:
        modes: The ways to decode, in the order of the table.
        prompts: What to decode.
        repeats: Passes over the prompts.
        seed: For the order within blocks.
        before: Told the name of each mode before it runs.

    Attributes:
        results: The measurements of the finished blocks.
        differences: Every run whose output differs from the first one of plain decoding on its prompt, later ones of
            plain decoding included: a target that does not repeat itself cannot be matched.
        repetitions: By prompt, what its plain text is like.
        failed: Modes that raised, with the error. They are left out from then on; plain decoding may not fail.
    """

    modes: Mapping[str, Mode]
    prompts: Sequence[Prompt]
    max_new_tokens: int
    repeats: int = 1
    seed: int = 0
    before: Callable[[str], None] = _ignore
    results: Results = field(default_factory=Results)
    differences: list[Difference] = field(default_factory=list)
    repetitions: dict[str, Repetition] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    _expected: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def warm_up(self) -> None:
        """Let every mode decode a little of the first prompt, and forget the times."""
        for mode in self.modes:
            self._time(mode, self.prompts[0], min(self.max_new_tokens, WARM_UP_TOKENS))

    def run(self) -> Iterator[Block]:
        """Yield each block when it is finished; one that is interrupted is lost, never half counted."""
        by_name = {prompt.name: prompt for prompt in self.prompts}
        for block in blocks(list(self.modes), list(by_name), repeats=self.repeats, seed=self.seed):
            prompt = by_name[block.prompt]
            timed = {mode: self._time(mode, prompt, self.max_new_tokens) for mode in block.order}
            self._take(block, prompt, {mode: run for mode, run in timed.items() if run is not None})
            yield block

    def _take(self, block: Block, prompt: Prompt, timed: Mapping[str, Timed]) -> None:
        if BASE in timed and prompt.name not in self._expected:
            self._expected[prompt.name] = timed[BASE].tokens
            self.repetitions[prompt.name] = repetition(timed[BASE].tokens)
        known, expected = self.repetitions.get(prompt.name), self._expected.get(prompt.name)
        for mode, run in timed.items():
            self.results.append(
                Measurement(
                    mode,
                    prompt.name,
                    prompt.kind,
                    known is None or known.varies,
                    run.seconds,
                    run.totals,
                    clock="wall",
                    repeat=block.repeat,
                )
            )
            difference = first_difference(expected, run.tokens) if expected is not None else None
            if difference is not None:
                self.differences.append(Difference(mode, prompt.name, block.repeat, *difference))

    def _time(self, mode: str, prompt: Prompt, max_new_tokens: int) -> Timed | None:
        if mode in self.failed:
            return None
        self.before(mode)
        # Garbage of the mode before must not be collected on this one's time.
        gc.collect()
        try:
            return self.modes[mode].run(prompt.tokens, max_new_tokens)
        except Exception as error:
            if mode == BASE:
                raise
            self.failed[mode] = f"{type(error).__name__}: {error}"
            return None
