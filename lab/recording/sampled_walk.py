"""Outcomes of a draft that draws its tokens, from every start of a text that the target drew.

Given the text, the draft's token at a place was accepted with the probability min(1, q/p), for the probabilities q and
p of the text's token there under draft and target, independently for each place. That is exact (Leviathan et al. 2023,
https://arxiv.org/abs/2211.17192, algorithm 1: a token x is drawn and accepted with probability min(p(x), q(x)), and
the text has it with p(x)). `agreed` is one draw of it.

Signals about a place are exact where the draft's token was accepted: those of the distribution do not depend on what
is drawn, and the token is the text's. Where it was refused, token, `prob` and everything after it come from one draw of
the draft that differs from the text's token, which is close to, but not, the distribution of refused tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from paceline.lab.recording.draft_walk import Places

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from numpy.typing import NDArray

    from paceline.core.optional_protocols import SupportsScoring
    from paceline.core.protocols import Session
    from paceline.lab.recording.draft_walk import DraftQuery
    from paceline.lab.recording.model import Starts

CHUNK = 256
"""Tokens scored at once; the scores of a long text need not fit in memory together."""

DRAWS = 8
"""Draws for a token that is not the text's; where the draft is that sure of it, a refusal is next to impossible."""


def token_probs(session: Session, scoring: SupportsScoring, tokens: Sequence[int]) -> list[float]:
    """Return the probability of each token under a session that stands at the beginning of the text.

    Args:
        session: It is led through the text.
        scoring: The same session, as what can be asked.
        tokens: The text.
    """
    probs: list[float] = []
    for begin in range(0, len(tokens), CHUNK):
        chunk = tokens[begin : begin + CHUNK]
        probs += scoring.score(chunk)
        session.advance(chunk)
    return probs


def acceptance_probabilities(
    draft_probs: Sequence[float], target_probs: Sequence[float]
) -> NDArray[np.float32]:
    """Return min(1, q/p) for each token; a token that the target has, but rounding says it has not, counts as 1."""
    q, p = np.asarray(draft_probs, np.float64), np.asarray(target_probs, np.float64)
    ratio = np.divide(q, p, out=np.where(q > 0.0, 1.0, 0.0), where=p > 0.0)
    return np.minimum(ratio, 1.0).astype(np.float32)


def draw(
    query: DraftQuery,
    tokens: Sequence[int],
    longest: int,
    *,
    own: Sequence[float],
    acceptance_probs: NDArray[np.float32],
    random: Random,
    match_lengths: NDArray[np.int32] | None = None,
) -> Starts:
    """Return one draw of what a draft does from every start.

    Args:
        query: The draft, at the beginning of the text.
        tokens: The text.
        longest: Tokens asked for at a time.
        own: Its probability of each token.
        acceptance_probs: That it is accepted.
        random: Decides what is accepted.
        match_lengths: The length of its match at every start, if it tells that.
    """
    places = Places(len(tokens), longest, query.signals)
    places.bits[:] = [random.random() < share for share in acceptance_probs]
    if query.signals:
        for place, token in enumerate(tokens):
            _look(query, places, place, token, own[place])
        if places.bits[-1] and longest > 1:
            _, signals = query.draft(longest - 1)
            places.after(len(tokens) - 1, signals)
    return places.starts(match_lengths=match_lengths, acceptance_probs=acceptance_probs)


def _look(query: DraftQuery, places: Places, place: int, token: int, own: float) -> None:
    """Note the signals at one place, and lead the draft on."""
    accepted = bool(places.bits[place])
    drafted, signals = query.draft(1 if accepted else places.longest)
    for _ in range(0 if accepted else DRAWS - 1):
        if not drafted or drafted[0] != token:
            break
        drafted, signals = query.draft(places.longest)
    if not accepted or not drafted:
        places.offers(place, len(drafted))
    if signals:
        here = replace(signals[0], token=token, prob=own) if accepted else signals[0]
        places.on_path(place, here)
        places.after(place, signals[1:])
    query.session.advance([token])
