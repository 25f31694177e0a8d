"""Logits processors of a request: how the next token may be chosen, as a pure function of text and logits.

They come after the repetition penalty and before temperature and cuts, as in transformers' `generate`. Nothing here
knows a library of arrays: a row is whatever the engine computes with.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from paceline.core.errors import BackendError, PacelineError, describe, short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


class LogitsProcessor(Protocol):
    """A change of the logits of the next token, given in `Sampling.processors`; a plain function will do."""

    def __call__(self, tokens: Sequence[int], logits: Any, /) -> Any:
        """Return processed logits; both arguments stay as they are.

        Called by target and drafts for each token that is drafted or delivered, several times for the same place where
        a draft token was refused. Lossless decoding needs a pure function: the same arguments give equal logits,
        whatever was asked before. It is shown no text of which it has made a token impossible, unless a draft has none
        of the tokens that were left.

        Args:
            tokens: Prompt and output so far, draft tokens on trial included.
            logits: One row, as the engine computes it: a tensor of torch, an array of numpy, a list. A draft's row may
                be shorter than the target's.

        Returns:
            A row of the same kind and length; minus infinity is impossible.
        """
        ...


@dataclass(frozen=True, slots=True)
class LogitBias:
    """A number added to the logits of single tokens, as OpenAI's `logit_bias`; minus infinity forbids a token.

    Attributes:
        biases: By token.

    Raises:
        ValueError: A token is negative, or a bias is not a number or above all others.
    """

    biases: Mapping[int, float]

    def __post_init__(self) -> None:
        for token, bias in self.biases.items():
            if token < 0 or math.isnan(bias) or bias == math.inf:
                raise ValueError(
                    f"logit bias: tokens are 0 and more, and a bias is a number or minus infinity, found "
                    f"{{{token}: {bias}}}"
                )

    def __hash__(self) -> int:
        return hash(frozenset(self.biases.items()))

    def __call__(self, tokens: Sequence[int], logits: Any, /) -> Any:
        """Return the row with the biases added."""
        del tokens
        biased = _copy(logits)
        for token, bias in self.biases.items():
            if token < len(biased):
                biased[token] += bias
        return biased


@dataclass(frozen=True, slots=True)
class AllowedTokens:
    """Only some tokens may follow: a grammar, a choice among answers, a format.

    Attributes:
        allowed: A pure function of prompt and output so far that returns the tokens that may follow, or None where all
            may.
    """

    allowed: Callable[[Sequence[int]], Iterable[int] | None]

    def __call__(self, tokens: Sequence[int], logits: Any, /) -> Any:
        """Return the row with all other tokens impossible."""
        allowed = self.allowed(tokens)
        if allowed is None:
            return logits
        ids = [token for token in allowed if 0 <= token < len(logits)]
        if isinstance(logits, list):
            row = [-math.inf] * len(logits)
            for token in ids:
                row[token] = logits[token]
            return row
        only = _copy(logits)
        only[:] = -math.inf
        only[ids] = logits[ids]
        return only


def process_row(processors: Iterable[LogitsProcessor], tokens: Sequence[int], logits: Any) -> Any:
    """Return one row of logits with all processors applied in order.

    Raises:
        BackendError: One raises something, answers with something else than such a row, or leaves no token.
    """
    for processor in processors:
        named = processor.processor if isinstance(processor, DraftProcessor) else processor
        try:
            answer = processor(tokens, logits)
        except PacelineError:
            raise
        except Exception as error:
            raise BackendError(
                f"logits processor {describe(named)} failed after {len(tokens)} tokens of prompt and output: "
                f"{short_repr(error)}"
            ) from error
        if type(answer) is not type(logits) or len(answer) != len(logits):
            raise BackendError(
                f"logits processor {describe(named)} returned {type(answer).__name__} for a row of {len(logits)} "
                f"logits; let it return a {type(logits).__name__} of the same length"
            )
        logits = answer
        if not has_choice(logits):
            raise BackendError(
                f"logits processor {describe(named)} leaves no token that could follow {len(tokens)} tokens of "
                "prompt and output; let it leave at least one, such as one that ends the text"
            )
    return logits


def has_choice(logits: Any) -> bool:
    """Tell whether a row has a largest logit that is a number."""
    return math.isfinite(logits.max() if hasattr(logits, "max") else max(logits))


@dataclass(frozen=True, slots=True)
class DraftProcessor:
    """A processor as a draft applies it: a draft of fewer tokens than the target may have none of those that are left.

    It then proposes as without the processor, which the target refuses.
    """

    processor: LogitsProcessor

    def __call__(self, tokens: Sequence[int], logits: Any, /) -> Any:
        """Return processed logits, or the row as it was where none would be left."""
        processed = self.processor(tokens, logits)
        return processed if has_choice(processed) else logits


def _copy(logits: Any) -> Any:
    clone = getattr(logits, "clone", None)  # of torch, whose `copy` shares memory
    return copy.copy(logits) if clone is None else clone()
