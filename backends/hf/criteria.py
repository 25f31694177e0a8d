"""Stopping criteria of transformers, asked after each token inside an accepted block, for one row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import StoppingCriteriaList

from paceline.backends.hf.host import processing
from paceline.backends.hf.processors import own_copy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paceline.backends.hf.record import Record


class Endings:
    """Where the rows of a batch end.

    Attributes:
        eos: Tokens that end a row.
        max_length: The most tokens of a row, padding and prompt included.
        padded: Whether a row that has ended is filled up with padding; without, it goes on until the last row ends.
    """

    def __init__(self, criteria: Iterable[Any]) -> None:
        found = tuple(criteria)
        self.eos = processing.end_tokens(found)
        self.max_length = processing.length_limit(found)
        self.padded = processing.pads_ended_rows(found)
        self._others = [each for each in found if not processing.judged_by_loop(each)]

    def for_row(
        self, text: Sequence[int], rows: int, device: torch.device, record: Record | None
    ) -> tuple[RowCriterion, ...]:
        """Return what ends one row besides its end-of-sequence tokens and its length: nothing, or one criterion.

        Args:
            text: The row before its first new token, padding included.
            rows: Of the batch; in a batch, what may have a state gets one for each row.
            device: Where criteria expect tokens.
            record: Where the scores are, if criteria are to see them.
        """
        if not self._others:
            return ()
        shared = processing.STATELESS
        own = [each if rows == 1 or type(each) in shared else own_copy(each) for each in self._others]
        room = max(1, self.max_length - len(text))
        return (RowCriterion(StoppingCriteriaList(own), text, room, device, record),)


class RowCriterion:
    """A criterion of the loop that shows the row to criteria of transformers."""

    def __init__(
        self,
        criteria: StoppingCriteriaList,
        text: Sequence[int],
        room: int,
        device: torch.device,
        record: Record | None,
    ) -> None:
        self._criteria = criteria
        self._before = len(text)
        # One buffer that fills up; what criteria are shown is a view of it.
        self._ids = torch.zeros((1, len(text) + room), dtype=torch.long, device=device)
        self._ids[0, : len(text)] = torch.tensor(text, device=device)
        self._record = record

    def __call__(self, output: Sequence[int]) -> bool:
        """Tell whether the row ends with the last token of its output."""
        length = self._before + len(output)
        self._ids[0, length - 1] = output[-1]
        scores = None if self._record is None else self._record.scores_until(len(output))
        return bool(self._criteria(self._ids[:, :length], scores).all())
