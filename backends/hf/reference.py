"""transformers' own ways to decode, so that a comparison can run them beside the loop.

Everything is left at its defaults except what makes the outputs comparable: greedy choice, end-of-sequence tokens
and length limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel


def reference_modes(
    target: PreTrainedModel, draft: PreTrainedModel | None, eos: frozenset[int]
) -> dict[str, Callable[[list[int], int], list[int]]]:
    """Return functions from prompt tokens and a length limit to new tokens, by name; the first decodes plainly.

    "hf assisted" is `generate` with `assistant_model` and every other setting at its default.
    """
    ways = {"hf generate": _way(target, eos)}
    if draft is not None:
        ways["hf assisted"] = _way(target, eos, assistant_model=draft)
    return ways


def _way(
    target: PreTrainedModel, eos: frozenset[int], **options: Any
) -> Callable[[list[int], int], list[int]]:
    generate: Any = target.generate

    def decode(prompt: list[int], max_new_tokens: int) -> list[int]:
        ids = torch.tensor([prompt], device=target.device)
        found = generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=sorted(eos) or None,
            pad_token_id=min(eos, default=0),
            **options,
        )
        new: list[int] = found[0, len(prompt) :].tolist()
        return new

    return decode
