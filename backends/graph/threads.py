"""The number of CPU threads that a model's passes are fastest with, found by timing them.

More threads read memory faster, until it is at its limit or they wait for each other: small models are fastest on one.
torch has one number for the whole process.
"""

from __future__ import annotations

import os
from time import perf_counter
from typing import TYPE_CHECKING, Final

import torch

from paceline.core.environment import cores
from paceline.core.log import log

if TYPE_CHECKING:
    from collections.abc import Callable


NEARLY: Final = 0.97
"""The fewest threads are taken whose time is within this share of the best: more would cost others their processors."""

HOPELESS: Final = 2.0
"""Numbers that take this many times the best are not tried again: waiting threads cost most where others work."""

ROUNDS: Final = (3, 25)
"""The fewest and the most times that each number is tried."""

ENOUGH_S: Final = 0.5
"""Seconds after which no further round begins."""


def choose_threads(walk: Callable[[], object], name: str) -> None:
    """Set the number of threads that a pass is fastest with, and log it.

    Numbers take turns, and the fastest try of each counts, so that other work on the machine disturbs little.

    Args:
        walk: A pass.
        name: Of the model.
    """
    numbers = thread_numbers()
    if len(numbers) == 1:
        torch.set_num_threads(numbers[0])
        return
    seconds = dict.fromkeys(numbers, float("inf"))
    began, fewest, most = perf_counter(), *ROUNDS
    for turn in range(most):
        if len(numbers) == 1 or (turn >= fewest and perf_counter() - began > ENOUGH_S):
            break
        for number in numbers:
            torch.set_num_threads(number)
            if turn == 0:
                walk()  # threads are made when they are first needed
            before = perf_counter()
            walk()
            seconds[number] = min(seconds[number], perf_counter() - before)
        best = min(seconds.values())
        numbers = tuple(number for number in numbers if seconds[number] <= HOPELESS * best)
    best = min(seconds.values())
    chosen = next(number for number in numbers if NEARLY * seconds[number] <= best)
    torch.set_num_threads(chosen)
    timed = {number: round(1e3 * spent, 2) for number, spent in seconds.items() if spent < float("inf")}
    log.info("threads_chosen", model=name, threads=chosen, milliseconds=timed)


def thread_numbers() -> tuple[int, ...]:
    """Return the numbers to try, ascending: 1, 2, 4, ..., half of the processors and all of them.

    Half are all cores where each counts as two processors. `OMP_NUM_THREADS` is the most where it is set.
    """
    limit = os.environ.get("OMP_NUM_THREADS", "")
    most = int(limit) if limit.isdigit() and int(limit) > 0 else cores()
    doubled = (2**power for power in range(most.bit_length()))
    return tuple(sorted({1, *doubled, max(1, most // 2), most}))
