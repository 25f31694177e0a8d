"""Stopping criteria of transformers, asked after each token inside an accepted block, for one row."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from transformers import StopStringCriteria

from paceline.backends.transformers.host import processing
from paceline.backends.transformers.processors import BatchRow, copy_for_row
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paceline.backends.transformers.rows import ScoreRecord


class EndCriteria:
    """Ends of the rows of a batch.

    Attributes:
        eos: Tokens that end a row.
        max_length: The most tokens of a row, padding and prompt included.
        padded: Whether a row that has ended is filled up with padding; without, it goes on until the last row ends.
    """

    def __init__(self, criteria: Iterable[Any]) -> None:
        all_criteria = tuple(criteria)
        self.eos = processing.end_tokens(all_criteria)
        self.max_length = processing.length_limit(all_criteria)
        self.padded = processing.pads_ended_rows(all_criteria)
        self._end = processing.time_limit(all_criteria)
        self._others = [criterion for criterion in all_criteria if not processing.handled_by_loop(criterion)]

    def for_row(
        self, text: Sequence[int], batch_row: BatchRow, device: torch.device, record: ScoreRecord | None
    ) -> RowCriterion | None:
        """Return what ends one row besides its end-of-sequence tokens and its length, if anything does.

        Args:
            text: The row before its first new token, padding included.
            batch_row: Where it stands in the batch; in a batch, what may have a state gets one for each row.
            device: Where criteria expect tokens.
            record: Where the scores are, if criteria are to see them.

        Raises:
            BackendError: A criterion cannot be copied.
        """
        if not self._others and self._end is None:
            return None
        own = [
            each if batch_row.rows == 1 or type(each) is StopStringCriteria else copy_for_row(each)
            for each in self._others
        ]
        room = max(1, self.max_length - len(text))
        return RowCriterion(own, self._end, text, room, batch_row, device, record)


class RowCriterion:
    """A criterion of the loop that shows the row to criteria of transformers, and keeps the time."""

    def __init__(
        self,
        criteria: Sequence[Any],
        end: float | None,
        text: Sequence[int],
        room: int,
        batch_row: BatchRow,
        device: torch.device,
        record: ScoreRecord | None,
    ) -> None:
        self._criteria = criteria
        self._end = end
        self._batch_row = batch_row
        self._before = len(text)
        # One buffer that fills up; what criteria are shown is a view of it.
        self._ids = torch.zeros((1, len(text) + room), dtype=torch.long, device=device)
        self._ids[0, : len(text)] = torch.tensor(text, device=device)
        self._record = record

    def __call__(self, output: Sequence[int]) -> bool:
        """Tell whether the row ends with the last token of its output.

        Raises:
            BackendError: A criterion does not answer for each row.
        """
        length = self._before + len(output)
        self._ids[0, length - 1] = output[-1]
        scores = None if self._record is None else self._record.scores_until(len(output))
        # As in `generate`, each of them is asked, also after another has said yes.
        answers = [self._ask(each, self._ids[:, :length], scores) for each in self._criteria]
        return any(answers) or (self._end is not None and time.time() > self._end)

    def _ask(self, criterion: Any, ids: torch.Tensor, scores: tuple[torch.Tensor, ...] | None) -> bool:
        batch_row = self._batch_row
        if type(criterion) is StopStringCriteria:
            return bool(criterion(ids, scores))
        shown = None if scores is None else tuple(each.expand(batch_row.rows, -1) for each in scores)
        with batch_row.explained(criterion):
            answer = criterion(ids.expand(batch_row.rows, -1), shown)
        if batch_row.rows > 1 and tuple(getattr(answer, "shape", ())) != (batch_row.rows,):
            raise BackendError(
                f"hf: {type(criterion).__name__} answers {_described(answer)} for a batch of {batch_row.rows} rows, "
                "each decoded by itself; let it answer with a tensor of one truth value a row, or call generate "
                "for each row"
            )
        # What `generate` makes of it for a single row.
        joined = torch.zeros(batch_row.rows, dtype=torch.bool, device=ids.device) | answer
        if joined.shape != (batch_row.rows,):
            raise BackendError(
                f"hf: {type(criterion).__name__} answers {_described(answer)} for a single row; let it answer with one "
                "truth value a row"
            )
        return bool(joined[batch_row.row])


def _described(answer: Any) -> str:
    if isinstance(answer, torch.Tensor):
        return f"with a tensor of shape {tuple(answer.shape)}"
    return f"with {type(answer).__name__}"
