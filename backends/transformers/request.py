"""The request that `generate` hands to a decoding loop; one that cannot be honoured is refused before any token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from paceline.backends.torch.host import release_named
from paceline.backends.transformers.host.cache import CACHE, can_go_on, record_past, replaceable
from paceline.backends.transformers.host.generation import (
    MEANINGLESS,
    READ,
    mask_length,
    mode_of,
    pad_token,
)
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from paceline.backends.torch.engine import Cache, RopeSwitch


KEPT: Final = ("scores", "logits")
"""Kinds of what is returned of each token where it is asked for: what it was chosen by, and what the model said."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """A batch to be continued.

    Attributes:
        texts: The rows, padding included.
        padding: How many tokens of each row are padding, all at its start.
        cache: A cache to go on with; only for a single row without padding.
        sampled: Whether tokens are drawn.
        kept: Which of "scores" and "logits" are to be returned.
        whole_output: Whether more than the texts is to be returned.
        filler: The token that rows are filled up with.
        device: Where tokens are, and where processors expect them.
    """

    texts: tuple[tuple[int, ...], ...]
    padding: tuple[int, ...]
    cache: Cache | None
    sampled: bool
    kept: frozenset[str]
    whole_output: bool
    filler: int
    device: torch.device


@release_named()
def read_request(
    input_ids: torch.Tensor, config: Any, inputs: Mapping[str, Any], switch: RopeSwitch | None = None
) -> GenerateRequest:
    """Return what `generate` prepared.

    Args:
        input_ids: Shape (rows, tokens).
        config: The generation configuration, resolved.
        inputs: The rest of what a forward pass of `generate` would be given.
        switch: Where the target turns positions otherwise, if it does.

    Raises:
        BackendError: Something in it cannot be honoured; says what, and the way out.
    """
    mode = mode_of(config)
    if mode not in {"greedy_search", "sample"}:
        raise _refusal(
            f"the generation mode is {mode}, and only greedy search and sampling can be speeded up losslessly",
            "leave out beams and other modes, and give drafts to adaptive() instead of generate()",
        )
    for name in ("output_attentions", "output_hidden_states"):
        if getattr(config, name, None):
            raise _refusal(
                f"{name} is asked for, which a block of tokens does not give one by one", "leave it out"
            )
    if config.cache_implementation == "quantized" or "offloaded" in str(config.cache_implementation):
        raise _refusal(
            f"cache_implementation is {config.cache_implementation!r}, which cannot be rolled back",
            "leave it out",
        )
    unknown = {name for name, value in inputs.items() if value is not None} - READ - MEANINGLESS
    if unknown:
        raise _refusal(f"the model is given {', '.join(sorted(unknown))}", "give input_ids alone")
    if input_ids.dim() != 2 or not input_ids.shape[1]:
        raise _refusal(f"input_ids have the shape {tuple(input_ids.shape)}", "give at least one token a row")
    padding = _padding(input_ids, inputs.get("attention_mask"))
    known = mask_length(config)
    if known is not None and known != input_ids.shape[1]:
        raise _partial()
    _check_positions(input_ids, padding, inputs.get("position_ids"))
    _check_length(config.max_length, padding, switch)
    texts = tuple(map(tuple, input_ids.tolist()))
    cache = _cache(inputs.get(CACHE), texts, padding)
    whole = bool(config.return_dict_in_generate)
    kept = frozenset(kind for kind in KEPT if whole and getattr(config, f"output_{kind}"))
    sampled, filler = bool(config.do_sample), pad_token(config)
    return GenerateRequest(texts, padding, cache, sampled, kept, whole, filler, input_ids.device)


def require_repeatable(model: Any) -> None:
    """Refuse a target that says something else each time.

    Raises:
        BackendError: It is in training mode.
    """
    if model.training:
        raise _refusal("the model is in training mode, where dropout changes its output", "call model.eval()")


def _refusal(problem: str, remedy: str) -> BackendError:
    return BackendError(f"hf: custom_generate=adaptive(...): {problem}; {remedy}")


def _partial() -> BackendError:
    return _refusal(
        "attention_mask or position_ids do not have the shape of input_ids, as if these were only a part of the text",
        f"give the whole text as input_ids, also with {CACHE}",
    )


def _padding(input_ids: torch.Tensor, mask: torch.Tensor | None) -> tuple[int, ...]:
    if mask is None:
        return (0,) * len(input_ids)
    if mask.shape != input_ids.shape:
        raise _partial()
    rows = (mask != 0).tolist()
    padding = tuple(row.index(True) if True in row else len(row) for row in rows)
    for index, (row, count) in enumerate(zip(rows, padding, strict=True)):
        if count == len(row) or not all(row[count:]):
            raise _refusal(
                f"the attention_mask of row {index} hides more than padding at its start",
                "pad on the left, with tokenizer.padding_side = 'left', and leave one token at least",
            )
    return padding


def _check_positions(
    input_ids: torch.Tensor, padding: tuple[int, ...], positions: torch.Tensor | None
) -> None:
    """Refuse positions that do not count the tokens after the padding."""
    if positions is None:
        return
    if positions.dim() != 2 or positions.shape[1] != input_ids.shape[1]:
        raise _partial()
    given = positions.expand(len(input_ids), -1).tolist()
    for row, count in zip(given, padding, strict=True):
        if row[count:] != list(range(len(row) - count)):
            raise _refusal("position_ids do not count the tokens from 0", "leave them out")


def _check_length(longest: int, padding: tuple[int, ...], switch: RopeSwitch | None) -> None:
    """Refuse texts that may get past a switch where they cannot be followed."""
    if switch is None or longest <= switch.length:
        return
    problem = (
        f"a text may get {longest} tokens long, and this model turns positions otherwise past {switch.length} "
        f"({switch.kind})"
    )
    if switch.cache is None:
        raise _refusal(
            f"{problem}, where only passes of single tokens give what `generate` gives",
            f"keep prompt and new tokens to {switch.length} together, or use `generate` alone",
        )
    if len(padding) > 1 or padding[0]:
        raise _refusal(
            f"{problem}, each row by the length of the longest", "call generate for each row, without padding"
        )


def _cache(cache: Any, texts: tuple[tuple[int, ...], ...], padding: tuple[int, ...]) -> Cache | None:
    """Return the cache if it can be gone on with, None if it is empty and another can take its place."""
    if cache is None:
        return None
    filled = int(cache.get_seq_length())
    if can_go_on(cache) and len(texts) == 1 and not padding[0]:
        if filled >= len(texts[0]):
            raise _refusal(
                f"{CACHE} holds {filled} tokens, and input_ids only {len(texts[0])}",
                "give a text that goes on after what is cached",
            )
        record_past(cache)
        return cache  # type: ignore[no-any-return]
    if filled:
        raise _refusal(
            f"{CACHE} ({type(cache).__name__}) holds {filled} tokens already, which works for a DynamicCache and a "
            "single row without padding only",
            "leave it out: the text is then read anew",
        )
    if not replaceable(cache):
        raise _refusal(f"{CACHE} is a {type(cache).__name__}", "give a DynamicCache, or none")
    return None
