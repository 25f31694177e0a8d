"""Ratios of speed between two modes, and how far chance may have moved them.

For each prompt a mode's seconds are the median over its repeats. Only prompts that both modes finished count.
With n tokens and t seconds summed over those prompts, a mode's rate is n / t and its speed-up is the ratio of
the rates; where outputs are identical that is the ratio of total times. The spread is a percentile bootstrap
over prompts (Efron 1979; Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13): prompts
are drawn with replacement, both modes keep their pairing, and the middle 90 % of the ratios is given.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from paceline.lab.bench.records import Run

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Cell:
    """One mode on one prompt: tokens delivered and the median of the seconds it took."""

    tokens: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """A speed-up with its spread; `low` and `high` are None when there are too few prompts to tell."""

    value: float
    low: float | None = None
    high: float | None = None


Cells = dict[str, Cell]
"""The cells of one mode, by prompt."""


def cells(runs: Iterable[Run], mode: str) -> Cells:
    """Gather the runs of one mode by prompt."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        if run.mode == mode:
            found.setdefault(run.prompt, []).append(run)
    return {
        prompt: Cell(median(len(run.tokens) for run in some), median(run.seconds for run in some))
        for prompt, some in found.items()
    }


def rate(some: Iterable[Cell]) -> float:
    """Return tokens per second over some cells; 0 when no time passed."""
    tokens = seconds = 0.0
    for cell in some:
        tokens += cell.tokens
        seconds += cell.seconds
    return tokens / seconds if seconds > 0 else 0.0


def ratio(mode: Mapping[str, Cell], base: Mapping[str, Cell], prompts: Sequence[str]) -> float:
    """Return the rate of `mode` over the rate of `base` on these prompts; 0 when either is unknown."""
    below = rate(base[prompt] for prompt in prompts)
    return rate(mode[prompt] for prompt in prompts) / below if below > 0 else 0.0


def speedup(
    mode: Mapping[str, Cell],
    base: Mapping[str, Cell],
    *,
    prompts: Iterable[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Ratio | None:
    """Compare two modes over the prompts that both finished, or over those of them named in `prompts`.

    Returns:
        The ratio with the middle 90 % of its bootstrap, or None when they share no prompt.
    """
    wanted = set(mode) if prompts is None else set(prompts)
    # In the order of the base, so that the same runs give the same resamples.
    shared = [prompt for prompt in base if prompt in mode and prompt in wanted]
    if not shared:
        return None
    value = ratio(mode, base, shared)
    if len(shared) < 3:
        return Ratio(value)
    draw = random.Random(seed)
    drawn = [ratio(mode, base, draw.choices(shared, k=len(shared))) for _ in range(resamples)]
    cuts = quantiles(drawn, n=20, method="inclusive")
    return Ratio(value, cuts[0], cuts[-1])
