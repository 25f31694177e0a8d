"""Which shapes are built: gammas, and how far attention looks."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from paceline.core.errors import BackendError

TIERS: Final = (0, 1, 2, 3, 4, 6, 8, 12, 16)
"""Gammas that programs are built for: dense where a token more is dear, sparse where few tokens are left to accept."""

SHORTEST: Final = 1024
"""The least positions that programs are built for; below, attention costs nothing beside the weights."""

STEP: Final = 4
"""Each span is this many times the one before: few programs, and attention reads at most four times what it needs."""


def check_tiers(tiers: tuple[int, ...]) -> tuple[int, ...]:
    """Return the tiers.

    Raises:
        BackendError: They do not begin with 0, are not ascending, or are 0 alone.
    """
    if len(tiers) < 2 or tiers[0] != 0 or any(one >= next_one for one, next_one in pairwise(tiers)):
        raise BackendError(f"graph: tiers are ascending gammas from 0, such as {TIERS}; found {tiers}")
    return tiers


def next_up(sizes: tuple[int, ...], wanted: int) -> int:
    """Return the least of ascending `sizes` that is at least `wanted`; the last one where none is."""
    return next((size for size in sizes if size >= wanted), sizes[-1])


def spans(room: int, block: int) -> tuple[int, ...]:
    """Return the spans of a cache of `room` positions: ascending, whole blocks, the last one all of it."""
    found, size = [], max(SHORTEST, block)
    while size < room:
        found.append(-(-size // block) * block)
        size *= STEP
    # One that is more than half of all is left out: the programs would be worth less than their memory.
    return (*(span for span in found if 2 * span <= room), room)
