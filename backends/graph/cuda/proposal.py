"""A proposal that stays on the device until somebody asks for it, or until it is verified there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.backends.graph.cuda.board import read
from paceline.backends.graph.cuda.signals import tell
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from paceline.backends.graph.cuda.draft_slot import DraftSlot
    from paceline.core.records import Signal, TokenSignals


class BoardProposal:
    """What lies on the board of a draft.

    Args:
        slot: The draft's.
        most: The most tokens there can be.
        signals: Those that were asked for; None if nobody asked.
        drawn: Whether the tokens were drawn, so that the slot holds what they were drawn from.

    Attributes:
        seconds: What the device took to draft, once that is known; see `paceline.core.proposals`.
    """

    def __init__(self, slot: DraftSlot, most: int, signals: frozenset[Signal] | None, *, drawn: bool) -> None:
        self.slot = slot
        self.most = most
        self._drawn = drawn
        self.seconds: float | None = None
        self._wanted = signals
        self._ticket = slot.ticket
        self._told: tuple[tuple[int, ...], tuple[TokenSignals, ...]] | None = None

    @property
    def current(self) -> bool:
        """Whether the board still holds this proposal."""
        return self._ticket == self.slot.ticket

    @property
    def known(self) -> bool:
        """Whether the host knows the tokens."""
        return self._told is not None

    @property
    def chances(self) -> torch.Tensor | None:
        """What the tokens were drawn from, shape (largest, vocabulary of the draft); None where that is not known."""
        return self.slot.chances if self._drawn and self.current else None

    def __len__(self) -> int:
        return len(self._tell()[0])

    @property
    def tokens(self) -> tuple[int, ...]:
        """The proposed tokens; waits for the device unless they are known."""
        return self._tell()[0]

    @property
    def signals(self) -> tuple[TokenSignals, ...]:
        """One record a token when signals were asked for, else empty; waits like `tokens`."""
        return self._tell()[1]

    def settle(self, numbers: Sequence[float]) -> None:
        """Take the content of the board, which has reached the host by another way; the device's work is done."""
        tokens, rows = read(numbers, self.slot.board.largest)
        self._told = tokens, () if self._wanted is None else tell(rows, tokens, self._wanted)
        self.seconds = self.slot.ended.since(self.slot.began)

    def _tell(self) -> tuple[tuple[int, ...], tuple[TokenSignals, ...]]:
        if self._told is None:
            if not self.current:
                raise BackendError(
                    f"graph: this proposal of {self.slot.engine.name} was never read, and the draft has gone on; read "
                    "or verify a proposal before the next one is asked for"
                )
            runner = self.slot.engine.runner
            with runner.work():
                self.settle(runner.fetch(self.slot.board.numbers, self.slot.host))
        assert self._told is not None
        return self._told
