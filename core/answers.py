"""The boundary where a draft's answers are checked, so that the loop and the policies may trust them.

A breach raises `ContractError` naming the draft: without this a policy would be blamed for numbers it was handed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.core.blame import blame, shown
from paceline.core.errors import ContractError
from paceline.core.records import SIGNALS, TokenSignals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.protocols import Draft, DraftSession, Proposal

_BEYOND = 1e300

LARGEST = 2**31
"""Lags and match lengths stay below; no text is that long, and beyond it prices could overflow."""


def check_draft(name: str, draft: Draft) -> None:
    """Refuse a draft that lacks what it must have, before it is opened."""
    signals: object = getattr(draft, "signals", None)
    if not isinstance(signals, frozenset) or not signals <= SIGNALS:
        raise _breach(
            name,
            draft,
            f"signals must be a frozenset of {', '.join(sorted(SIGNALS))}, or empty; found {shown(signals)}",
        )
    if not callable(getattr(draft, "open", None)):
        raise _breach(name, draft, "it has no open()")


def check_draft_session(name: str, draft: Draft, session: object) -> None:
    """Refuse a session that lacks what the loop will ask for."""
    if missing := [
        method for method in ("draft", "advance", "close") if not callable(getattr(session, method, None))
    ]:
        raise _breach(name, draft, f"open() returned {shown(session)}, which has no {missing[0]}()")


def check_proposal(name: str, session: DraftSession, proposal: Proposal, gamma: int, vocabulary: int) -> int:
    """Return how many tokens are proposed; refuse too many, and what is no token of the target's."""
    tokens = tuple(proposal.tokens)
    if not len(tokens) == len(proposal) <= gamma:
        raise _breach(
            name, session, f"it was asked for {gamma} tokens and proposed {max(len(tokens), len(proposal))}"
        )
    for token in tokens:
        if not isinstance(token, int) or not 0 <= token < vocabulary:
            raise _breach(
                name, session, f"it proposed {shown(token)}, which is no token of the target's {vocabulary}"
            )
    return len(tokens)


def read_signals(name: str, session: DraftSession, proposal: Proposal) -> tuple[TokenSignals, ...]:
    """Return the signals of a proposal; refuse what is no record of finite numbers."""
    signals = tuple(proposal.signals)
    for about in signals:
        check_signals(name, session, about)
    return signals


def check_signals(name: str, session: DraftSession, about: object) -> None:
    """Refuse signals that are no finite numbers."""
    if not isinstance(about, TokenSignals):
        raise _breach(name, session, f"signals are TokenSignals, found {shown(about)}")
    for value in (about.top1, about.prob, about.entropy, about.margin):
        if value is not None and not (isinstance(value, float | int) and -_BEYOND < value < _BEYOND):
            raise _breach(name, session, f"signals are finite numbers, found {shown(about)}")
    if not (about.token is None or isinstance(about.token, int)):
        raise _breach(name, session, f"the signal `token` is a token, found {shown(about)}")


def check_lag(name: str, session: DraftSession, lag: object) -> None:
    """Refuse a lag that is no count of tokens."""
    if not isinstance(lag, int) or not 0 <= lag < LARGEST:
        raise _breach(name, session, f"a lag is a whole number of at least 0, found {shown(lag)}")


def check_match_length(name: str, session: DraftSession, match_length: object) -> None:
    """Refuse a match length that is no whole number of at least 0."""
    if not isinstance(match_length, int) or not 0 <= match_length < LARGEST:
        raise _breach(
            name, session, f"a match length is a whole number of at least 0, found {shown(match_length)}"
        )


def check_scores(name: str, session: DraftSession, scores: Sequence[float], tokens: int) -> None:
    """Refuse scores that are not one chance for each token."""
    if len(scores) != tokens or not all(0.0 <= score <= 1.0 for score in scores):
        raise _breach(
            name, session, f"{tokens} tokens need as many scores from 0 to 1, found {shown(scores)}"
        )


def _breach(name: str, culprit: object, message: str) -> ContractError:
    return ContractError(f"draft {name!r}, {blame(culprit)}", message)
