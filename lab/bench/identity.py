"""Whether every mode gave the tokens that plain decoding gave."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from paceline.lab.bench.records import Mismatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paceline.lab.bench.records import Run


def first_difference(
    expected: Sequence[int], found: Sequence[int]
) -> tuple[int, int | None, int | None] | None:
    """Return position and both tokens of the first difference, or None when the outputs are identical."""
    for position, (left, right) in enumerate(zip_longest(expected, found)):
        if left != right:
            return position, left, right
    return None


def mismatches(runs: Iterable[Run], base: str) -> list[Mismatch]:
    """List every run whose output differs from the first run of `base` on the same prompt.

    The later runs of `base` are compared as well: a target that does not repeat itself cannot be matched.
    """
    runs = list(runs)
    expected: dict[str, tuple[int, ...]] = {}
    for run in runs:
        if run.mode == base:
            expected.setdefault(run.prompt, run.tokens)
    found = []
    for run in runs:
        difference = first_difference(expected[run.prompt], run.tokens) if run.prompt in expected else None
        if difference is not None:
            found.append(Mismatch(run.mode, run.prompt, run.repeat, *difference))
    return found
