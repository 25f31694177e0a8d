"""transformers: `generate` as it is, with its own prompt lookup, and with paceline's drop-in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM

import paceline.hf
from peers.weights import FLOAT, HF

if TYPE_CHECKING:
    from collections.abc import Callable

    from peers.protocol import Request

PLAIN, LOOKUP, ADAPTIVE = "plain", "lookup", "adaptive"
TOKENS = 10
"""Tokens that its documentation has prompt lookup propose."""


def load(models: str, precision: str, threads: int) -> Callable[[Request], list[int]]:
    """Load the model; 8 bit by torch's dynamic quantisation of all linear layers."""
    torch.set_num_threads(threads)
    library: Any = torch
    model: Any = AutoModelForCausalLM.from_pretrained(Path(models) / HF, dtype=torch.float32).eval()
    if precision != FLOAT:
        rule = library.ao.quantization.per_channel_dynamic_qconfig
        model = library.ao.quantization.quantize_dynamic(model, {torch.nn.Linear: rule})
    options: dict[str, dict[str, Any]] = {
        PLAIN: {},
        LOOKUP: {"prompt_lookup_num_tokens": TOKENS},
        ADAPTIVE: {"custom_generate": paceline.hf.adaptive("lookup")},
    }
    end = model.generation_config.eos_token_id

    def generate(request: Request) -> list[int]:
        ids = torch.tensor([request.prompt])
        drawing = (
            {"do_sample": True, "temperature": request.temperature, "top_k": 0, "top_p": 1.0}
            if request.temperature
            else {"do_sample": False}
        )
        torch.manual_seed(request.seed)
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=request.tokens,
            **drawing,
            **options[request.mode],
        )
        tokens: list[int] = output[0, len(request.prompt) :].tolist()
        return tokens[:-1] if tokens and tokens[-1] == end else tokens

    return generate
