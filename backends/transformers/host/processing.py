"""Processors and stopping criteria by what they look at and remember: no page says it, it is read from their code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from transformers.generation import logits_process
from transformers.generation.stopping_criteria import (
    EosTokenCriteria,
    MaxLengthCriteria,
    MaxTimeCriteria,
)

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
_WHOLE_BATCH = "UnbatchedClassifierFreeGuidanceLogitsProcessor ClassifierFreeGuidanceLogitsProcessor"


def _types(names: str) -> frozenset[type]:
    """Return those classes that this release of transformers has. A subclass is another class: it may do anything."""
    return frozenset(
        kind for name in names.split() if (kind := getattr(logits_process, name, None)) is not None
    )


CONTEXT_FREE: Final = _types(_CONTEXT_FREE)
"""Look at the logits alone: all positions of a block are one call."""

PREFIX_ONLY: Final = _types(_PREFIX_ONLY)
"""Look at the tokens before a position, and remember nothing between calls."""

WHOLE_BATCH: Final = _types(_WHOLE_BATCH)
"""Run the model on a whole batch, so that they cannot be shown one row of it."""


def of_row(processor: Any, row: int) -> Any:
    """Return a processor for one row where this one holds a value for each or counts them; None for all others."""
    kind = type(processor)
    if kind is logits_process.RepetitionPenaltyLogitsProcessor:
        ignored = processor.prompt_ignore_length
        # From 5.23 on it may be told how much padding each row has.
        if isinstance(ignored, torch.Tensor):
            return kind(processor.penalty, ignored[row : row + 1])
    if kind is logits_process.PrefixConstrainedLogitsProcessor:
        allowed = processor._prefix_allowed_tokens_fn  # noqa: SLF001 - it counts rows by the batch it is shown
        return kind(lambda _, ids: allowed(row, ids), 1)
    return None


def end_tokens(criteria: Iterable[Any]) -> frozenset[int]:
    """Return the tokens that end a row by criteria of `generate` itself."""
    lists = (each.eos_token_id.flatten().tolist() for each in criteria if type(each) is EosTokenCriteria)
    return frozenset(token for tokens in lists for token in tokens)


def length_limit(criteria: Iterable[Any]) -> int:
    """Return the most tokens of a row, prompt included; `generate` always sets one."""
    return min(int(each.max_length) for each in criteria if type(each) is MaxLengthCriteria)


def time_limit(criteria: Iterable[Any]) -> float | None:
    """Return when rows end by `max_time`, on the clock of `time.time`; None where there is none."""
    ends = (each.initial_timestamp + each.max_time for each in criteria if type(each) is MaxTimeCriteria)
    return min(ends, default=None)


def pads_ended_rows(criteria: Iterable[Any]) -> bool:
    """Tell whether `generate` fills up a row that has ended; else it goes on until the last one ends."""
    return any(hasattr(each, "eos_token_id") for each in criteria)


def handled_by_loop(criterion: Any) -> bool:
    """Tell whether `end_tokens`, `length_limit` and `time_limit` say all of a criterion."""
    return type(criterion) in {EosTokenCriteria, MaxLengthCriteria, MaxTimeCriteria}
