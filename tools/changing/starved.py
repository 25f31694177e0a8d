"""A policy on the clock while other processes take its core: `python -I tools changing.starved [POLICY]`.

The process keeps to one core. Plain decoding and the policy, `auto` by default, take turns on the same prompts of the
embedded pair: first alone, then for some seconds beside busy processes that keep to the same core, then alone again.
The policy's speed is given over that of plain decoding in the same stretch, which is starved as much. It goes on
learning all the while, and so do its costs. Linux only.
"""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentParser
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from paceline.core.config.load import load_config
from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.models import load_models
from paceline.lab.short_names import parse_policy, static_name
from paceline.lab.workloads.prompts import choose, embedded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paceline.core.decoder import SpeculativeDecoder

PROMPTS, TOKENS = 3, 48
SECONDS, PROCESSES = 5.0, 3
BUSY = "while True: pass"


@dataclass(frozen=True, slots=True)
class Pass:
    """All prompts once under both: tokens delivered by each, and their seconds."""

    tokens: int
    plain_s: float
    policy_s: float


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the run.

    Attributes:
        name: "before", "during" or "after".
        passes: In their order.
    """

    name: str
    passes: Sequence[Pass]

    @property
    def plain_rate(self) -> float:
        """Tokens a second of plain decoding."""
        return sum(run.tokens for run in self.passes) / sum(run.plain_s for run in self.passes)

    @property
    def speedup(self) -> float:
        """Speed of the policy over that of plain decoding."""
        return sum(run.plain_s for run in self.passes) / sum(run.policy_s for run in self.passes)


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, and those that it starts meanwhile, to one core."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def starved(processes: int) -> Iterator[None]:
    """Let so many busy processes share the cores of this one."""
    command = [sys.executable, "-Ic", BUSY]
    busy = [subprocess.Popen(command) for _ in range(processes)]  # noqa: S603 - our own interpreter
    try:
        yield
    finally:
        for process in busy:
            process.kill()
        for process in busy:
            process.wait()


def stretches(
    plain: SpeculativeDecoder,
    policy: SpeculativeDecoder,
    prompts: Sequence[Sequence[int]],
    *,
    seconds: float = SECONDS,
    processes: int = PROCESSES,
) -> Iterator[Stretch]:
    """Decode before, during and after, each for so many seconds and whole passes over the prompts."""
    with one_core():
        _pass(plain, policy, prompts)
        yield _stretch("before", plain, policy, prompts, seconds)
        with starved(processes):
            during = _stretch("during", plain, policy, prompts, seconds)
        yield during
        yield _stretch("after", plain, policy, prompts, seconds)


def _stretch(
    name: str,
    plain: SpeculativeDecoder,
    policy: SpeculativeDecoder,
    prompts: Sequence[Sequence[int]],
    seconds: float,
) -> Stretch:
    end, passes = perf_counter() + seconds, []
    while perf_counter() < end:
        passes.append(_pass(plain, policy, prompts))
    return Stretch(name, passes)


def _pass(plain: SpeculativeDecoder, policy: SpeculativeDecoder, prompts: Sequence[Sequence[int]]) -> Pass:
    spent, tokens = {plain: 0.0, policy: 0.0}, 0
    for number, prompt in enumerate(prompts):
        # Who comes first changes, so that neither always finds the fresher caches.
        for decoder in (plain, policy) if number % 2 else (policy, plain):
            began = perf_counter()
            done = decoder.generate(prompt, max_new_tokens=TOKENS)
            spent[decoder] += perf_counter() - began
        tokens += len(done.tokens)
    return Pass(tokens, spent[plain], spent[policy])


def main(arguments: list[str]) -> int:
    """Run the three stretches and print a line for each."""
    parser = ArgumentParser("python -I tools changing.starved", description="A policy on a starved core.")
    parser.add_argument("policy", nargs="?", default="auto", metavar="POLICY", help="such as survival")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each stretch")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="that take the core meanwhile")
    given = parser.parse_args(arguments)
    if not hasattr(os, "sched_setaffinity"):
        sys.stderr.write("keeping a process to one core needs Linux\n")
        return 1
    # Threads of one process that wait for each other on one core would be starved by themselves.
    os.environ["OMP_NUM_THREADS"] = "1"
    catalogue = Catalogue.load()
    parts = load_models(load_config(None, catalogue=catalogue))
    plain, policy = (parts.under(parse_policy(name, catalogue)) for name in (static_name(0), given.policy))
    prompts = [policy.encode(prompt.text) for prompt in choose(embedded(), limit=PROMPTS)]
    sys.stdout.write(
        f"| stretch | plain, tokens/s | {given.policy} over plain | its first pass | passes |\n|---|---|---|---|---|\n"
    )
    for stretch in stretches(plain, policy, prompts, seconds=given.seconds, processes=given.processes):
        first = Stretch(stretch.name, stretch.passes[:1])
        cells = (stretch.name, f"{stretch.plain_rate:.0f}", f"{stretch.speedup:.2f}", f"{first.speedup:.2f}")
        sys.stdout.write(f"| {' | '.join(cells)} | {len(stretch.passes)} |\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
