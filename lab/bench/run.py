"""A bench: modes, which are ways to decode, take turns on each prompt, one finished block after the other.

A machine drifts: it warms up, slows down, does other work. Modes that take turns meet the same drift, and an order
drawn anew for each block keeps one mode from always following the same other one.
"""

from __future__ import annotations

import gc
import random
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple, Protocol

from paceline.core.generation import Totals
from paceline.lab.bench.processor import Stopwatch, machine_ticks, stolen
from paceline.lab.repetition import Repetition, repetition
from paceline.lab.results import Measurement, Results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from paceline.core.config.blocks import Generate
    from paceline.core.decoder import SpeculativeDecoder
    from paceline.lab.results import ProcessorUse
    from paceline.lab.results_file import ResultsWriter, Stored
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
    processor: ProcessorUse | None = None


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
        watch = Stopwatch()
        done = self.decoder.generate(prompt, max_new_tokens=max_new_tokens)
        seconds, processor = watch.stop()
        return Timed(seconds, done.tokens, done.totals, processor)


@dataclass(frozen=True, slots=True)
class ReferenceMode:
    """A function of the target's own library."""

    name: str
    generate: Generate

    def run(self, prompt: Sequence[int], max_new_tokens: int) -> Timed:
        """Decode one prompt and time it."""
        tokens, watch = list(prompt), Stopwatch()
        new = self.generate(tokens, max_new_tokens)
        seconds, processor = watch.stop()
        return Timed(seconds, tuple(new), Totals(emitted=len(new), seconds=seconds), processor)


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
        known: The finished blocks, by repeat and prompt; they are not run again.
        stolen: Share of the machine's time that its hypervisor gave to others.
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
    known: set[tuple[int, str]] = field(default_factory=set)
    stolen: float = 0.0
    _expected: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def warm_up(self) -> None:
        """Let every mode decode a little of the first prompt, and forget the times."""
        for mode in self.modes:
            self._time(mode, self.prompts[0], min(self.max_new_tokens, WARM_UP_TOKENS))

    def take_up(self, stored: Stored) -> None:
        """Go on from what an interrupted bench has measured; policies learn anew."""
        self.results.append(*stored.results)
        for values in stored.blocks:
            repeat, prompt = int(values["repeat"]), str(values["prompt"])
            self.known.add((repeat, prompt))
            if values["plain"] is not None:
                self._expect(prompt, values["plain"])
            self.differences += [Difference(**different) for different in values["different"]]
            self.failed |= values["failed"]

    def run(self, writer: ResultsWriter | None = None) -> Iterator[Block]:
        """Yield each block when it is finished, and written; one that is interrupted is lost, never half counted."""
        by_name, before = {prompt.name: prompt for prompt in self.prompts}, machine_ticks()
        for block in blocks(list(self.modes), list(by_name), repeats=self.repeats, seed=self.seed):
            if (block.repeat, block.prompt) in self.known:
                continue
            prompt = by_name[block.prompt]
            timed = {mode: self._time(mode, prompt, self.max_new_tokens) for mode in block.order}
            self._take(block, prompt, {mode: run for mode, run in timed.items() if run is not None}, writer)
            self.stolen = stolen(before, machine_ticks())
            yield block

    def _take(
        self, block: Block, prompt: Prompt, timed: Mapping[str, Timed], writer: ResultsWriter | None
    ) -> None:
        first = BASE in timed and prompt.name not in self._expected
        if first:
            self._expect(prompt.name, timed[BASE].tokens)
        repeats, expected = self.repetitions.get(prompt.name), self._expected.get(prompt.name)
        measurements: list[Measurement] = []
        differences: list[Difference] = []
        for mode, run in timed.items():
            measurements.append(
                Measurement(
                    mode,
                    prompt.name,
                    prompt.kind,
                    repeats is None or repeats.varies,
                    run.seconds,
                    run.totals,
                    clock="wall",
                    repeat=block.repeat,
                    processor=run.processor,
                )
            )
            difference = first_difference(expected, run.tokens) if expected is not None else None
            if difference is not None:
                differences.append(Difference(mode, prompt.name, block.repeat, *difference))
        self.results.append(*measurements)
        self.differences += differences
        self.known.add((block.repeat, prompt.name))
        if writer is not None:
            remembered = {
                "repeat": block.repeat,
                "prompt": prompt.name,
                "plain": list(timed[BASE].tokens) if first else None,
                "different": [asdict(difference) for difference in differences],
                "failed": self.failed,
            }
            writer.block(self.results.options, measurements, remembered)

    def _expect(self, prompt: str, tokens: Sequence[int]) -> None:
        self._expected[prompt] = tuple(tokens)
        self.repetitions[prompt] = repetition(tokens)

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
