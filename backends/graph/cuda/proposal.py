"""A proposal that stays on the device, signals and all, until somebody asks for it, or until it is verified there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from paceline.core.errors import BackendError
from paceline.core.records import TokenSignals

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from paceline.backends.graph.cuda.draft import DraftBuffers
    from paceline.core.records import Signal, StopRule


MEASURED: Final[tuple[Signal, ...]] = ("top1", "prob", "entropy", "margin")
"""In the order in which they lie in a buffer."""

NEVER: Final = (0.0, 0.0, 0.0)
"""The rule that never stops, as `rule_numbers` gives rules."""


def rule_numbers(rule: StopRule | None) -> tuple[float, float, float]:
    """Return a rule as numbers: which signal, a sign, and the bound times that sign."""
    if rule is None:
        return NEVER
    place = float(MEASURED.index(rule.signal))
    if rule.above is not None:
        return place, 1.0, float(rule.above)
    assert rule.below is not None
    return place, -1.0, -float(rule.below)


def stops(measured: torch.Tensor, rule: torch.Tensor) -> torch.Tensor:
    """Tell whether a rule, as three numbers on the device, ends drafting after a token; shape (1,)."""
    place, sign, bound = rule[0:1].long(), rule[1:2], rule[2:3]
    # Beyond the bound strictly, as `StopRule.stops`; with sign 0, never.
    return measured.index_select(0, place) * sign > bound


def tell(
    rows: Sequence[Sequence[float]], tokens: Sequence[int], names: Collection[Signal]
) -> tuple[TokenSignals, ...]:
    """Return the records of the tokens, each with the signals that were asked for."""
    return tuple(
        TokenSignals(
            place,
            **{name: row[MEASURED.index(name)] for name in names if name != "token"},
            token=token if "token" in names else None,
        )
        for place, (row, token) in enumerate(zip(rows, tokens, strict=True))
    )


@dataclass(frozen=True, slots=True, eq=False)
class ProposalBuffer:
    """Count, tokens, signals.

    Attributes:
        numbers: float64, shape (size(largest),).
        largest: The most tokens.
    """

    numbers: torch.Tensor
    largest: int

    @staticmethod
    def size(largest: int) -> int:
        """Return how many numbers a proposal of so many tokens has."""
        return 1 + largest + largest * len(MEASURED)

    @property
    def count(self) -> torch.Tensor:
        """Number of proposed tokens, shape (1,)."""
        return self.numbers[:1]

    @property
    def tokens(self) -> torch.Tensor:
        """The tokens, shape (largest,); beyond `count` is whatever was there."""
        return self.numbers[1 : 1 + self.largest]

    @property
    def signals(self) -> torch.Tensor:
        """The signals, shape (largest, signals)."""
        return self.numbers[1 + self.largest :].view(self.largest, len(MEASURED))


def read(numbers: Sequence[float], largest: int) -> tuple[tuple[int, ...], list[Sequence[float]]]:
    """Return tokens and rows of signals of a proposal that was copied to the host."""
    count, width = int(numbers[0]), len(MEASURED)
    first = 1 + largest
    rows = [numbers[first + place * width : first + (place + 1) * width] for place in range(count)]
    return tuple(map(int, numbers[1 : 1 + count])), rows


class BufferedProposal:
    """A proposal in the buffers of a draft.

    Args:
        buffers: The draft's.
        most: The most tokens there can be.
        signals: Those that were asked for; None if nobody asked.
        drawn: Whether the tokens were drawn, so that the buffers hold what they were drawn from.

    Attributes:
        seconds: What the device took to draft, once that is known; see `paceline.core.proposals`.
    """

    def __init__(
        self, buffers: DraftBuffers, most: int, signals: frozenset[Signal] | None, *, drawn: bool
    ) -> None:
        self.buffers = buffers
        self.most = most
        self._drawn = drawn
        self.seconds: float | None = None
        self._signals = signals
        self._generation = buffers.generation
        self._content: tuple[tuple[int, ...], tuple[TokenSignals, ...]] | None = None

    @property
    def current(self) -> bool:
        """True if the buffers still hold this proposal."""
        return self._generation == self.buffers.generation

    @property
    def known(self) -> bool:
        """True if the host knows the tokens."""
        return self._content is not None

    @property
    def draft_probs(self) -> torch.Tensor | None:
        """Distributions that the tokens were drawn from, (largest, vocabulary of the draft); None where not known."""
        return self.buffers.draft_probs if self._drawn and self.current else None

    def __len__(self) -> int:
        return len(self._read()[0])

    @property
    def tokens(self) -> tuple[int, ...]:
        """The proposed tokens; waits for the device unless they are known."""
        return self._read()[0]

    @property
    def signals(self) -> tuple[TokenSignals, ...]:
        """One record a token when signals were asked for, else empty; waits like `tokens`."""
        return self._read()[1]

    def settle(self, numbers: Sequence[float]) -> None:
        """Take the content of the buffer, which has reached the host by another way; the device's work is done."""
        tokens, rows = read(numbers, self.buffers.proposal_buffer.largest)
        self._content = tokens, () if self._signals is None else tell(rows, tokens, self._signals)
        self.seconds = self.buffers.ended.seconds_since(self.buffers.began)

    def _read(self) -> tuple[tuple[int, ...], tuple[TokenSignals, ...]]:
        if self._content is None:
            if not self.current:
                raise BackendError(
                    f"graph: this proposal of {self.buffers.engine.name} was never read, and the draft has gone on; "
                    "read or verify a proposal before the next one is asked for"
                )
            runner = self.buffers.engine.runner
            with runner.work():
                self.settle(runner.fetch(self.buffers.proposal_buffer.numbers, self.buffers.host))
        assert self._content is not None
        return self._content
