"""Processor time of this process, and the time for which it was ready to run and had no core.

A wall clock counts what other programs do on the same machine. Linux tells of each thread for how long it ran and for
how long it waited for a core (`schedstat`, in nanoseconds:
https://docs.kernel.org/scheduler/sched-stats.html), and of the machine for how long its hypervisor ran others.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from paceline.lab.results import ProcessorUse

if TYPE_CHECKING:
    from collections.abc import Iterable

TASKS = Path("/proc/self/task")
MACHINE = Path("/proc/stat")

IDLE = 0.05
"""A thread with less than this share of the process's time, such as a logger's, is not at work."""

SHARED = 0.1
"""Share of the time without a core from which on a wall clock measures the others too."""


def threads() -> dict[str, tuple[int, int]]:
    """Return for each thread of this process the nanoseconds it ran and waited for a core; nothing off Linux."""
    known: dict[str, tuple[int, int]] = {}
    try:
        for task in TASKS.iterdir():
            ran, waited, _ = (task / "schedstat").read_text(encoding="ascii").split()
            known[task.name] = int(ran), int(waited)
    except (OSError, ValueError):
        return {}
    return known


class Elapsed(NamedTuple):
    """Seconds on the clock, and time on the processor."""

    seconds: float
    processor: ProcessorUse


@dataclass(slots=True)
class Stopwatch:
    """Runs from when it is made."""

    _threads: dict[str, tuple[int, int]] = field(default_factory=threads)
    _processor: float = field(default_factory=time.process_time)
    _began: float = field(default_factory=time.perf_counter)

    def stop(self) -> Elapsed:
        """Return what passed."""
        seconds, processor_s = time.perf_counter() - self._began, time.process_time() - self._processor
        spans = []
        for name, (ran, waited) in threads().items():
            ran_before, waited_before = self._threads.get(name, (0, 0))
            spans.append((ran - ran_before, waited - waited_before))
        if not spans:
            return Elapsed(seconds, ProcessorUse(processor_s))
        ran_ns = sum(ran for ran, _ in spans)
        working = sum(ran > IDLE * ran_ns for ran, _ in spans)
        return Elapsed(seconds, ProcessorUse(processor_s, sum(waited for _, waited in spans) / 1e9, working))


def waiting(uses: Iterable[ProcessorUse | None]) -> float | None:
    """Return the share of the time in which threads had no core though they were ready; None where nobody tells."""
    known = [(use.seconds, use.waited_s) for use in uses if use is not None and use.waited_s is not None]
    total = sum(seconds + waited for seconds, waited in known)
    return sum(waited for _, waited in known) / total if total else None


def machine_ticks() -> tuple[int, int]:
    """Return the ticks that a hypervisor ran others on this machine's cores, and all ticks; zeros off Linux."""
    try:
        with MACHINE.open(encoding="ascii") as file:
            # user nice system idle iowait irq softirq steal, of all cores since the start
            ticks = [int(number) for number in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return 0, 0
    return ticks[-1], sum(ticks)


def stolen(before: tuple[int, int], after: tuple[int, int]) -> float:
    """Return the share of the machine's time between two readings that its hypervisor gave to others."""
    return (after[0] - before[0]) / total if (total := after[1] - before[1]) > 0 else 0.0
