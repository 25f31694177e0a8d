"""Logits processors of transformers, applied to a block of positions, each after its own prefix.

Those known to be functions of prefix and logits alone may be shown any prefix, also one that is refused later. The
others (stateful ones, and what users wrote) may only be shown the prefixes that `generate` would show them, in its
order.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from paceline.backends.hf.host.processing import CONTEXT_FREE, PREFIX_ONLY, WHOLE_BATCH, of_row
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterable


class Rules:
    """Processors in the order in which `generate` applies them.

    Attributes:
        reads: Whether any of them looks at the tokens before a position.
        ordered: Whether one of them may only be shown what `generate` would show it.
    """

    def __init__(self, processors: Iterable[Any] = ()) -> None:
        self._processors = tuple(processors)
        self.reads = any(type(each) not in CONTEXT_FREE for each in self._processors)
        self.ordered = any(type(each) not in CONTEXT_FREE | PREFIX_ONLY for each in self._processors)

    def __bool__(self) -> bool:
        return bool(self._processors)

    def for_guesses(self) -> Rules:
        """Return those rules that may be shown tokens on trial."""
        return Rules(each for each in self._processors if type(each) in CONTEXT_FREE | PREFIX_ONLY)

    def for_row(self, row: int, rows: int) -> Rules:
        """Return the rules for one row of a batch that is decoded row by row.

        What may have a state gets one for each row, by a copy.

        Raises:
            BackendError: A processor is made for the batch as a whole.
        """
        return self if rows == 1 else Rules(_for_row(each, row) for each in self._processors)

    def __call__(self, text: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return processed scores.

        Args:
            text: Shape (1, tokens): what stands before the last row of scores. Each row above has one token less.
            scores: Shape (rows, vocabulary).
        """
        first = text.shape[1] - len(scores) + 1
        for processor in self._processors:
            if type(processor) in CONTEXT_FREE or len(scores) == 1:
                scores = processor(text, scores)
            else:
                rows = (
                    processor(text[:, : first + row], scores[row : row + 1]) for row in range(len(scores))
                )
                scores = torch.cat(list(rows))
        return scores


def _for_row(processor: Any, row: int) -> Any:
    kind = type(processor)
    own = of_row(processor, row)
    if own is not None:
        return own
    if kind in CONTEXT_FREE | PREFIX_ONLY:
        return processor
    if kind in WHOLE_BATCH:
        raise BackendError(
            f"hf: {kind.__name__} holds the prompts of a whole batch, but rows are decoded one by one; call generate "
            "for each row, or leave it out"
        )
    return own_copy(processor)


def own_copy(thing: Any) -> Any:
    """Return a copy of a processor or criterion for one row.

    Raises:
        BackendError: It cannot be copied.
    """
    try:
        return copy.deepcopy(thing)
    except (TypeError, RuntimeError, NotImplementedError, AttributeError) as problem:
        raise BackendError(
            f"hf: {type(thing).__name__} cannot be copied ({problem}), and rows of a batch are decoded one by one, "
            "each with its own; call generate for each row"
        ) from problem
