"""Tiny random models of several families, and drafts that agree with them now and then.

For tests of backends and of whatever runs on them: small enough for milliseconds, in float64 so that it does not matter
in which block a token was computed, and related enough that a draft is accepted sometimes, never always.
"""

from __future__ import annotations

import copy
from typing import Any, Final

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

VOCABULARY: Final = 96
WINDOW: Final = 8

_SIZES: Final = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}
_GROUPED: Final = {**_SIZES, "num_key_value_heads": 2, "head_dim": 8}

FAMILIES: Final[dict[str, dict[str, Any]]] = {
    "llama": _GROUPED,
    "qwen2": _GROUPED,
    "qwen3": _GROUPED,
    "mistral": {**_GROUPED, "sliding_window": WINDOW},
    "gemma2": {**_GROUPED, "sliding_window": WINDOW, "query_pre_attn_scalar": 8},
    "gemma3_text": {
        **_GROUPED,
        "sliding_window": WINDOW,
        "query_pre_attn_scalar": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "gpt2": {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "opt": {**_SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32},
    "bloom": {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "gpt_neox": _SIZES,
    "phi3": _GROUPED,
}
"""Model type -> configuration. mistral, gemma2 and gemma3_text attend through a window of 8 tokens."""


def tiny_model(family: str, *, seed: int = 0, dtype: torch.dtype = torch.float64, **changes: Any) -> Any:
    """Return a random model of a family, in evaluation mode, the same for the same seed.

    Args:
        family: A key of `FAMILIES`.
        seed: Of its weights.
        dtype: Of its weights.
        changes: Entries of the configuration to set differently.
    """
    # With the embeddings as the head, a token is its own likeliest successor, and the output a single token.
    common = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None, "tie_word_embeddings": False}
    config = CONFIG_MAPPING[family](**{**common, **FAMILIES[family], **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        # The usual initialisation is so small that the last token alone decides; wider weights make the context count.
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.dim() > 1:
                    weight.normal_(0.0, 1.0 if "emb" in name or "wte" in name else 0.3)
    model.generation_config.eos_token_id = None
    return model.eval()


def noisy_copy(model: Any, *, noise: float = 0.08, seed: int = 1) -> Any:
    """Return a copy whose weights are off by `noise` of their spread: a draft that is right some of the time."""
    made = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for weight in made.parameters():
            if weight.dim() > 1:
                weight.add_(torch.randn_like(weight) * weight.std() * noise)
    return made
