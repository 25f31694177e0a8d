"""Asking a draft from one place, and what its signals are as rows of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from paceline.core.guards.draft import check_proposal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from paceline.core.protocols import DraftSession
    from paceline.core.records import Signal, StopRule, TokenSignals


@dataclass(frozen=True, slots=True)
class Look:
    """A `DraftControl` that sees signals and never stops drafting."""

    signals: frozenset[Signal]
    stop: StopRule | None = None
    keep_drafting: Callable[[TokenSignals], bool] | None = None


@dataclass(frozen=True, slots=True)
class DraftQuery:
    """One draft at work on one request, asked for its tokens and signals.

    Attributes:
        name: What messages call it.
        session: At work on the request; every `advance` is up to the caller.
        signals: Those wanted; they are ones it delivers.
        vocabulary: The target's number of tokens.
    """

    name: str
    session: DraftSession
    signals: frozenset[Signal]
    vocabulary: int

    def draft(self, gamma: int) -> tuple[Sequence[int], Sequence[TokenSignals]]:
        """Return at most `gamma` tokens from here, and their signals where some are wanted.

        Raises:
            ContractError: The draft proposed more, or what is no token.
        """
        control = Look(self.signals) if self.signals else None
        proposal = self.session.draft(gamma, control)
        check_proposal(self.name, self.session, proposal, gamma, self.vocabulary)
        return tuple(proposal.tokens), tuple(proposal.signals) if self.signals else ()


def agreement(proposed: Iterable[int], true_tokens: Iterable[int]) -> int:
    """Return how many tokens both begin with alike."""
    pairs = zip(proposed, true_tokens, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
