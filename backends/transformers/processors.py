"""Logits processors of transformers, applied to a block of positions, each after its own prefix.

Those known to be functions of prefix and logits alone may be shown any prefix, also one that is refused later. The
others (stateful ones, and what users wrote) may only be shown the prefixes that `generate` would show them, in its
order.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from paceline.backends.torch.sampling import LogitsProcessors, checked_scores
from paceline.backends.transformers.host.processing import CONTEXT_FREE, PREFIX_ONLY, WHOLE_BATCH, of_row
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class BatchRow:
    """Position of a row in a batch.

    Attributes:
        row: Its number, from 0.
        rows: How many there are.
    """

    row: int
    rows: int

    @contextmanager
    def explained(self, rule: Any) -> Iterator[None]:
        """Add to what a processor or criterion raises in a batch that it was shown one row alone."""
        try:
            yield
        except Exception as problem:
            if self.rows > 1:
                problem.add_note(
                    f"paceline decodes each row of a batch by itself: {type(rule).__name__} was shown row {self.row} "
                    "in the place of every row. If it needs the other rows, call generate for each row."
                )
            raise


class BatchProcessor:
    """A processor made for a batch, shown one row of it.

    It may hold a value for each row, so it is shown as many rows as there are. All of them are the one that is decoded.
    """

    def __init__(self, processor: Any, batch_row: BatchRow) -> None:
        self._processor = processor
        self._batch_row = batch_row

    def __call__(self, text: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return processed scores of the row, shape (1, vocabulary).

        Raises:
            BackendError: It does not answer for each row.
        """
        row, rows = self._batch_row.row, self._batch_row.rows
        with self._batch_row.explained(self._processor):
            answer = self._processor(text.expand(rows, -1), scores.repeat(rows, 1))
        return checked_scores(self._processor, answer, rows)[row : row + 1]


class RowProcessors(LogitsProcessors):
    """The processors of a call of `generate`, in the order in which it applies them.

    Attributes:
        ordered: Whether one of them may only be shown what `generate` would show it.
    """

    def __init__(self, processors: Iterable[Any] = ()) -> None:
        super().__init__(processors, CONTEXT_FREE)
        self.ordered = any(type(each) not in CONTEXT_FREE | PREFIX_ONLY for each in self.processors)

    def for_guesses(self) -> RowProcessors:
        """Return those processors that may be shown tokens on trial."""
        return RowProcessors(each for each in self.processors if type(each) in CONTEXT_FREE | PREFIX_ONLY)

    def for_row(self, batch_row: BatchRow) -> RowProcessors:
        """Return the processors for one row of a batch.

        What may have a state gets one for each row, by a copy.

        Raises:
            BackendError: A processor is made for the batch as a whole.
        """
        return (
            self
            if batch_row.rows == 1
            else RowProcessors(_for_row(each, batch_row) for each in self.processors)
        )


def _for_row(processor: Any, batch_row: BatchRow) -> Any:
    kind = type(processor)
    own = of_row(processor, batch_row.row)
    if own is not None:
        return own
    if kind in CONTEXT_FREE | PREFIX_ONLY:
        return processor
    if kind in WHOLE_BATCH:
        raise BackendError(
            f"hf: {kind.__name__} runs the model on a whole batch, but each row is decoded by itself; call "
            "generate for each row, or leave it out"
        )
    return BatchProcessor(copy_for_row(processor), batch_row)


def copy_for_row(thing: Any) -> Any:
    """Return a copy of a processor or criterion for one row.

    Raises:
        BackendError: It cannot be copied.
    """
    try:
        return copy.deepcopy(thing)
    except (TypeError, RuntimeError, NotImplementedError, AttributeError) as problem:
        raise BackendError(
            f"hf: {type(thing).__name__} cannot be copied ({problem}), and rows of a batch are decoded by themselves, "
            "each with its own; call generate for each row"
        ) from problem
