"""Sizes of a small Llama model, and one of them with fresh weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM


@dataclass(frozen=True)
class Shape:
    """The sizes that tell one small model from another."""

    hidden: int
    layers: int
    inner: int
    vocabulary: int = 4096
    head: int = 64
    positions: int = 2048

    def config(self) -> LlamaConfig:
        """Return the configuration of a Llama model of this shape."""
        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.hidden // self.head,
            num_key_value_heads=self.hidden // self.head,
            head_dim=self.head,
            max_position_embeddings=self.positions,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )


def create(shape: Shape, seed: int) -> LlamaForCausalLM:
    """Return a model of this shape with fresh float32 weights drawn from the seed."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(shape.config()).float()
