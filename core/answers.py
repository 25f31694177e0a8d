"""The boundary where a draft's answers are checked, so that the loop and the policies may trust them.

A breach raises `ContractError` naming the draft: without this a policy would be blamed for numbers it was handed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.core.errors import ContractError
from paceline.core.guard import blame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.protocols import DraftSession, Proposal


def check_proposal(name: str, session: DraftSession, proposal: Proposal, gamma: int, vocabulary: int) -> None:
    """Refuse a proposal that is too long or holds what is no token of the target's."""
    if len(proposal) > gamma:
        raise _breach(name, session, f"it was asked for {gamma} tokens and proposed {len(proposal)}")
    for token in proposal.tokens:
        if not isinstance(token, int) or not 0 <= token < vocabulary:
            raise _breach(
                name, session, f"it proposed {token!r}, which is no token of the target's {vocabulary}"
            )


def check_hint(name: str, session: DraftSession, hint: object) -> None:
    """Refuse a hint that is no whole number of at least 0."""
    if not isinstance(hint, int) or hint < 0:
        raise _breach(name, session, f"a hint is a whole number of at least 0, found {hint!r}")


def check_scores(name: str, session: DraftSession, scores: Sequence[float], tokens: int) -> None:
    """Refuse scores that are not one chance for each token."""
    if len(scores) != tokens or not all(0.0 <= score <= 1.0 for score in scores):
        raise _breach(name, session, f"{tokens} tokens need as many scores from 0 to 1, found {scores!r}")


def _breach(name: str, session: DraftSession, message: str) -> ContractError:
    return ContractError(f"draft {name!r}, {blame(session)}", message)
