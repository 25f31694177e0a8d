"""Tiny pairs of the hf backend, and what transformers' own `generate` writes with the target."""

import functools

import torch

from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.transformers import HfDraft, HfTarget

from ..generated import generated
from ..tiny_models import FAMILIES, noisy_copy, tiny_model

__all__ = ["FAMILIES", "pair", "plainly"]


@functools.cache
def pair(family, dtype=torch.float64):
    model = tiny_model(family, dtype=dtype)
    drafts = {
        "near": HfDraft(noisy_copy(model, noise=0.02)),
        "far": HfDraft(tiny_model(family, seed=5, dtype=dtype)),
        "lookup": PromptLookup(),
    }
    return HfTarget(model), drafts


@functools.lru_cache(maxsize=512)
def plainly(family, prompt, max_new_tokens, eos=frozenset(), dtype=torch.float64):
    return generated(pair(family, dtype)[0].engine.model, prompt, max_new_tokens, eos)
