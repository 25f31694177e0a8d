"""What `generate` hands to a loop in the place of its own, and what it expects back."""

from __future__ import annotations

from typing import Any, Final

from transformers.generation.utils import GenerateDecoderOnlyOutput

from paceline.backends.hf.host.cache import CACHE

READ: Final = frozenset({"attention_mask", "position_ids", CACHE})
"""What it prepares for the first forward pass and a loop must honour."""

MEANINGLESS: Final = frozenset({"logits_to_keep", "use_cache", "cache_position"})
"""Say how a forward pass is to be made, which the loop knows better; they change no token."""


def mode_of(config: Any) -> str:
    """Return how a resolved generation configuration decodes: "greedy_search", "sample", or another mode's name."""
    mode = config.get_generation_mode()
    return str(getattr(mode, "value", mode))


def mask_length(config: Any) -> int | None:
    """Return how long the attention mask is that `generate` was given: shorter or longer than the text in some uses."""
    return getattr(config, "_mask_length", None)


def pad_token(config: Any) -> int:
    """Return what rows are filled up with; 0 where there is nothing, since no row then ends before the others.

    `generate` works it out from several settings and keeps it there as a tensor.
    """
    found = config._pad_token_tensor  # noqa: SLF001 - see above
    return 0 if found is None else int(found)


def decoder_output(cache: Any, **values: Any) -> GenerateDecoderOnlyOutput:
    """Return what `generate` returns with `return_dict_in_generate`."""
    return GenerateDecoderOnlyOutput(**values, **{CACHE: cache})
