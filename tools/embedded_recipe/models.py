"""The shapes of the pair, and how a model is made narrower or deeper without starting again."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from paceline.backends.distillation.shape import Shape

TARGET = Shape(hidden=512, layers=7, inner=832)
DRAFTS = {
    "draft-small": Shape(hidden=128, layers=1, inner=384),
    "draft-medium": Shape(hidden=256, layers=2, inner=640),
}


@torch.no_grad()
def importance(model: LlamaForCausalLM, ids: Tensor) -> list[Tensor]:
    """Return, for each layer, how much each inner neuron adds to the stream on these tokens."""
    scores: list[Tensor] = []

    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        size = inputs[0].float().flatten(0, -2).pow(2).mean(0).sqrt()
        weight = module.weight
        assert isinstance(weight, Tensor)
        scores.append(size * weight.float().norm(dim=0))

    handles = [layer.mlp.down_proj.register_forward_pre_hook(hook) for layer in model.model.layers]
    try:
        model(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return scores


@torch.no_grad()
def prune(model: LlamaForCausalLM, inner: int, ids: Tensor) -> LlamaForCausalLM:
    """Return a copy that keeps, in each layer, the `inner` neurons that matter most on these tokens."""
    kept = [score.topk(inner).indices.sort().values for score in importance(model, ids)]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    for i, keep in enumerate(kept):
        prefix = f"model.layers.{i}.mlp."
        for part in ("gate_proj", "up_proj"):
            weights[f"{prefix}{part}.weight"] = weights[f"{prefix}{part}.weight"][keep].clone()
        weights[f"{prefix}down_proj.weight"] = weights[f"{prefix}down_proj.weight"][:, keep].clone()
    config = LlamaConfig(**{**model.config.to_dict(), "intermediate_size": inner})
    smaller = LlamaForCausalLM(config).to(model.dtype)
    smaller.load_state_dict(weights)
    return smaller


@torch.no_grad()
def grow(model: LlamaForCausalLM, layers: int) -> LlamaForCausalLM:
    """Return a deeper model that computes the same function.

    New layers are copies of the last one whose two output projections are
    zero, so that they pass the stream on unchanged until training moves them.
    """
    config = LlamaConfig(**{**model.config.to_dict(), "num_hidden_layers": layers})
    deeper = LlamaForCausalLM(config).to(model.dtype)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    last = len(model.model.layers) - 1
    for i in range(last + 1, layers):
        for name, value in model.model.layers[last].state_dict().items():
            silent = name in ("self_attn.o_proj.weight", "mlp.down_proj.weight")
            weights[f"model.layers.{i}.{name}"] = torch.zeros_like(value) if silent else value.clone()
    deeper.load_state_dict(weights)
    return deeper
