"""Agreement drawn anew: what else could have happened to a text whose tokens were drawn.

Given the text, a draft that depends on the context alone is accepted at each place with a chance of its own,
independently of all other places (`paceline.lab.recording.model`). One draw of all places is one way in which the
rounds could have gone; the recording holds one, and as many more can be had as are wanted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import numpy as np

from paceline.core.errors import TraceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paceline.core.records import Signal
    from paceline.lab.recording.model import Header, Starts, Text

OF_PLACE: Final[tuple[Signal, ...]] = ("top1", "entropy", "margin")
"""Signals of the distribution at a place, which is the same whatever is drawn from it."""


def check_drawn(header: Header) -> None:
    """Refuse to draw anew what is certain.

    Raises:
        TraceError: The recording is greedy.
    """
    if header.mode != "sampled":
        raise TraceError(
            "this recording is greedy, so that nothing can be drawn anew; leave out --draws, or record at a "
            "temperature above 0"
        )


def drawn(text: Text, header: Header, *, seed: int) -> Text:
    """Return a text with the agreement of each draft that has chances drawn anew, from the seed and the text's name.

    Drafts without chances propose one token for certain, which the text shows to be accepted or not. Of the signals
    those stay that hold whatever was drawn, along the text itself; what would have been drafted after a refusal is
    another draw, of which nothing is known.
    """
    random = np.random.default_rng([seed, crc32(text.name.encode())])
    drafts = {name: _redrawn(starts, header.longest, random) for name, starts in text.drafts.items()}
    return replace(text, drafts=drafts)


def _redrawn(starts: Starts, longest: int, random: np.random.Generator) -> Starts:
    if starts.chance is None:
        return starts
    bits = random.random(len(starts.chance)) < starts.chance
    agreed = np.minimum(runs(bits), starts.offered).astype(np.int16)
    signals = {signal: _on_path(signal, known, agreed, longest) for signal, known in starts.signals.items()}
    return replace(starts, agreed=agreed, signals=signals)


def runs(bits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each place how many bits from there on are set in a row."""
    count = len(bits)
    refusals = np.where(bits, count, np.arange(count))
    lengths: NDArray[np.int64] = np.minimum.accumulate(refusals[::-1])[::-1] - np.arange(count)
    return lengths


def _on_path(signal: Signal, known: Any, agreed: NDArray[np.int16], longest: int) -> Any:
    """Return what is still known of a signal: column k of a start is about place start + k while all before agreed."""
    unknown = -1 if signal == "token" else np.nan
    rows = np.full((len(agreed), longest), unknown, known.dtype)
    if signal not in OF_PLACE:
        return rows
    count = len(agreed)
    for column in range(min(longest, count)):
        valid = agreed[: count - column] >= column
        rows[: count - column, column] = np.where(valid, known[column:, 0], unknown)
    return rows
