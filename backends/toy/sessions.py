"""Toy models at work on one request, greedily."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paceline.core.proposals import TokenProposal, TokenVerdict
from paceline.core.records import TokenSignals

if TYPE_CHECKING:
    from paceline.backends.toy.models import ToyDraft, ToyTarget
    from paceline.core.protocols import DraftControl, Proposal


@dataclass(slots=True)
class ToyTargetSession:
    """The target at work: all its state is the context."""

    model: ToyTarget
    context: list[int]

    def verify(self, proposal: Proposal | None) -> TokenVerdict:
        """Return the longest prefix the table agrees with, and the table's next token."""
        wait(self.model.step_s)
        tried = list(self.context)
        tokens: list[int] = []
        for token in proposal.tokens if proposal is not None else ():
            wanted = self.model.next(tried)
            if token != wanted:
                break
            tried.append(token)
            tokens.append(token)
        return TokenVerdict(len(tokens), (*tokens, self.model.next(tried)))

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered."""
        self.context.extend(tokens)

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


class ToyDraftSession:
    """The draft at work; it lags as one with a cache would."""

    memoryless = True

    def __init__(self, model: ToyDraft, context: list[int]) -> None:
        self.lag = len(context) - 1
        self._model = model
        self._context = context
        self._ahead: int | None = (
            None  # draft tokens a cache would hold after this round; None: did not draft
        )

    def draft(self, gamma: int, control: DraftControl | None) -> Proposal:
        """Propose `gamma` tokens, fewer when `control` says so."""
        wait(self._model.step_s)
        tried = list(self._context)
        signals: list[TokenSignals] = []
        for position in range(gamma):
            token, about = self._choose(tried, position)
            tried.append(token)
            if control is None:
                continue
            signals.append(about)
            if control.stop is not None and control.stop.stops(signals[-1]):
                break
            if control.keep_drafting is not None and not control.keep_drafting(signals[-1]):
                break
        tokens = tuple(tried[len(self._context) :])
        self._ahead = len(tokens) - 1  # the last token drafted is not read by the draft itself
        return self._propose(tokens, tuple(signals))

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return for each of `tokens` how probable it is that this draft would have proposed it there."""
        self._ahead = len(tokens) - 1
        known = len(self._context)
        text = [*self._context, *tokens]
        return [self._share(text[: known + i], token) for i, token in enumerate(tokens)]

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered; those drafted and delivered need not be read again."""
        self._context.extend(tokens)
        if self._ahead is None:
            self.lag += len(tokens)
        else:
            self.lag = len(tokens) - 1 - min(self._ahead, len(tokens) - 1)
        self._ahead = None

    def close(self) -> None:
        """Do nothing: there is nothing to free."""

    def _choose(self, context: Sequence[int], position: int) -> tuple[int, TokenSignals]:
        """Return the token after `context`, and its signals."""
        token, top1 = self._model.guess(context)
        return token, TokenSignals(position, top1, top1, 2 * (1 - top1), 2 * top1 - 1, token)

    def _propose(self, tokens: tuple[int, ...], signals: tuple[TokenSignals, ...]) -> Proposal:
        return TokenProposal(tokens, signals)

    def _share(self, context: Sequence[int], token: int) -> float:
        return float(self._model.guess(context)[0] == token)


def wait(seconds: float) -> None:
    """Take as long as a forward pass of a real model would."""
    if seconds:
        time.sleep(seconds)
