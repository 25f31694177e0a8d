"""Outcomes of a draft from every start of a text that is known already.

A draft whose next token depends on the context alone is drafted ahead, compared with the text, and led on to its first
error: what it proposes from there is asked once more, so that all starts before know what would have followed. This
takes about one draft of `longest` tokens for each error, and another for each run of accepted tokens. Any other draft
is asked at every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paceline.core.guards.draft import check_match_length
from paceline.core.optional_protocols import Memoryless
from paceline.lab.recording.looking import DraftQuery, agreement
from paceline.lab.recording.shape import Places, Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.protocols import DraftSession
    from paceline.lab.recording.model import Starts


def memoryless(session: DraftSession) -> bool:
    """Tell whether a draft says that its next token depends on the context alone."""
    return isinstance(session, Memoryless) and session.memoryless


def walk(
    query: DraftQuery, tokens: Sequence[int], longest: int, *, match_lengths: NDArray[np.int32] | None = None
) -> Starts:
    """Return what a draft that depends on the context alone does from every start.

    Args:
        query: The draft, at the beginning of the text.
        tokens: The text.
        longest: Tokens asked for at a time.
        match_lengths: The length of its match at every start, if it tells that.
    """
    n, start = len(tokens), 0
    places = Places(n, longest, query.signals)
    while start < n:
        drafted, signals = query.draft(longest)
        agreed = agreement(drafted, tokens[start:])
        places.offers(start, len(drafted))
        places.bits[start : start + agreed] = True
        for offset, about in enumerate(signals[: min(agreed + 1, n - start)]):
            places.on_path(start + offset, about)
        # Up to where it is on the text; the last token of the text is asked for by itself.
        reached = min(agreed, n - 1 - start)
        whole = agreed == len(drafted) < n - start
        if whole:
            step = max(agreed, 1)
        elif reached and (query.signals or start + reached == n - 1):
            step = reached
        else:
            places.after(start + reached, signals[reached + 1 :])
            step = reached + 1
        query.session.advance(tokens[start : start + step])
        start += step
    return places.starts(match_lengths=match_lengths)


def ask_everywhere(
    query: DraftQuery, tokens: Sequence[int], longest: int, *, match_lengths: NDArray[np.int32] | None = None
) -> Starts:
    """Return what any draft does from every start, by asking it there; arguments as of `walk`."""
    rows = Rows(len(tokens), longest, query.signals)
    for start, token in enumerate(tokens):
        drafted, signals = query.draft(longest)
        rows.take(start, len(drafted), agreement(drafted, tokens[start:]), signals)
        query.session.advance([token])
    return rows.starts(match_lengths=match_lengths)


def match_lengths_of(name: str, session: DraftSession, tokens: Sequence[int]) -> NDArray[np.int32] | None:
    """Return the length of a draft's match at every start; None for one that does not tell it."""
    if getattr(session, "match_length", None) is None:
        return None
    lengths = []
    for token in tokens:
        match_length = getattr(session, "match_length", None)
        check_match_length(name, session, match_length)
        lengths.append(match_length)
        session.advance([token])
    return np.array(lengths, np.int32)
