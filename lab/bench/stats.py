"""Ratios of speed between two modes, with the interval of `paceline.lab.stats`.

For each prompt a mode's seconds are the median over its repeats. Only prompts that both modes finished count.
With n tokens and t seconds summed over those prompts, a mode's rate is n / t and its speed-up is the ratio of
the rates; where outputs are identical that is the ratio of total times.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from paceline.lab.stats import estimate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from paceline.lab.bench.records import Run
    from paceline.lab.stats import Ratio


@dataclass(frozen=True, slots=True)
class Cell:
    """One mode on one prompt: tokens delivered and the median of the seconds it took."""

    tokens: float
    seconds: float


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


def speedup(
    mode: Mapping[str, Cell], base: Mapping[str, Cell], *, prompts: Iterable[str] | None = None
) -> Ratio | None:
    """Compare two modes over the prompts that both finished, or over those of them named in `prompts`.

    Returns:
        The ratio of their rates with its interval; None when they share no prompt, or took no time.
    """
    wanted = set(mode) if prompts is None else set(prompts)
    shared = [prompt for prompt in base if prompt in mode and prompt in wanted]
    if not shared:
        return None
    return estimate(
        _faster,
        [mode[prompt].tokens for prompt in shared],
        [mode[prompt].seconds for prompt in shared],
        [base[prompt].tokens for prompt in shared],
        [base[prompt].seconds for prompt in shared],
        logarithmic=True,
    )


def _faster(tokens: float, seconds: float, base_tokens: float, base_seconds: float) -> float | None:
    return (tokens / seconds) / (base_tokens / base_seconds) if seconds > 0 < base_tokens else None
