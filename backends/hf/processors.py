"""Logits processors of transformers, applied to a block of positions, each after its own prefix.

Those known to be functions of prefix and logits alone may be shown any prefix, also one that is refused later. The
others (stateful ones, and what users wrote) may only be shown the prefixes that `generate` would show them, in its
order.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from transformers.generation import logits_process

from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterable

_CONTEXT_FREE = (
    "TemperatureLogitsWarper TopKLogitsWarper TopPLogitsWarper TopHLogitsWarper MinPLogitsWarper TypicalLogitsWarper "
    "EpsilonLogitsWarper EtaLogitsWarper InfNanRemoveLogitsProcessor LogitNormalization SuppressTokensLogitsProcessor"
)
_PREFIX_ONLY = (
    "RepetitionPenaltyLogitsProcessor NoRepeatNGramLogitsProcessor SequenceBiasLogitsProcessor "
    "NoBadWordsLogitsProcessor MinLengthLogitsProcessor MinNewTokensLengthLogitsProcessor "
    "ForcedBOSTokenLogitsProcessor ForcedEOSTokenLogitsProcessor ExponentialDecayLengthPenalty "
    "SuppressTokensAtBeginLogitsProcessor WatermarkLogitsProcessor"
)
_WHOLE_BATCH = (
    "EncoderRepetitionPenaltyLogitsProcessor EncoderNoRepeatNGramLogitsProcessor "
    "UnbatchedClassifierFreeGuidanceLogitsProcessor ClassifierFreeGuidanceLogitsProcessor"
)


def _types(names: str) -> frozenset[type]:
    """Return those classes that this release of transformers has. A subclass is another class: it may do anything."""
    return frozenset(
        kind for name in names.split() if (kind := getattr(logits_process, name, None)) is not None
    )


CONTEXT_FREE = _types(_CONTEXT_FREE)
"""Look at the logits alone: all positions of a block are one call."""

PREFIX_ONLY = _types(_PREFIX_ONLY)
"""Look at the tokens before a position, and remember nothing between calls."""

WHOLE_BATCH = _types(_WHOLE_BATCH)
"""Hold the prompts of a whole batch, so that they cannot be shown one row of it."""


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
    if kind is logits_process.RepetitionPenaltyLogitsProcessor:
        ignored = processor.prompt_ignore_length
        # From 5.23 on it may be told how much padding each row has.
        if isinstance(ignored, torch.Tensor):
            return kind(processor.penalty, ignored[row : row + 1])
    if kind in CONTEXT_FREE | PREFIX_ONLY:
        return processor
    if kind in WHOLE_BATCH:
        raise BackendError(
            f"hf: {kind.__name__} holds the prompts of a whole batch, but rows are decoded one by one; call generate "
            "for each row, or leave it out"
        )
    if kind is logits_process.PrefixConstrainedLogitsProcessor:
        allowed = processor._prefix_allowed_tokens_fn  # noqa: SLF001 - it counts rows by the batch it is shown
        return kind(lambda _, ids: allowed(row, ids), 1)
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
