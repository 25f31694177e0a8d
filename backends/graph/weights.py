"""The weights of a model, taken from transformers and joined where one product can do the work of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from paceline.backends.graph.layers import RopeTable, rope_table
from paceline.backends.graph.shape import WAY_OUT, Shape
from paceline.backends.torch.host import release_named
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A linear map.

    Attributes:
        weight: Shape (outputs, inputs).
        bias: Shape (outputs,), if there is one.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None = None

    def outputs(self, part: slice) -> Matrix:
        """Return the map to some of the outputs."""
        return Matrix(self.weight[part], None if self.bias is None else self.bias[part])


@dataclass(frozen=True, slots=True, eq=False)
class LayerWeights:
    """One layer.

    Attributes:
        attention_norm: Scales before attention, shape (hidden,).
        qkv: To queries, keys and values, one head after the other: (heads + 2 kv_heads) * head_dim outputs.
        query_norm, key_norm: Scales of each head, shape (head_dim,); None in most families.
        out: From the heads back to the hidden states.
        mlp_norm: Scales before the feed-forward network, shape (hidden,).
        gate_up: To the gate, then the values: 2 * inner outputs.
        down: From the inner width back to the hidden states.
    """

    attention_norm: torch.Tensor
    qkv: Matrix
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None
    out: Matrix
    mlp_norm: torch.Tensor
    gate_up: Matrix
    down: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A model: embedding, layers, last norm, head, and the turns that stand for positions."""

    embedding: torch.Tensor
    layers: tuple[LayerWeights, ...]
    norm: torch.Tensor
    head: Matrix
    rope: RopeTable

    @property
    def dtype(self) -> torch.dtype:
        """The number format of all matrices."""
        return self.embedding.dtype

    @property
    def device(self) -> torch.device:
        """Device of all of them."""
        return self.embedding.device


@release_named()
@torch.inference_mode()
def take_weights(model: Any, shape: Shape, *, positions: int, name: str, consume: bool = False) -> Weights:
    """Return the weights of a model of transformers.

    Args:
        model: A model of one of the four families, on its device, in its dtype.
        shape: What `read_shape` says of it.
        positions: How many positions will be asked for.
        name: What messages call it.
        consume: Let go of each layer of `model` once its matrices are joined, so that memory holds one copy; the model
            cannot be used afterwards.

    Raises:
        BackendError: The model is of another class than its family's own, or spread over devices or number formats.
    """
    if type(model).__name__ != CLASSES[shape.family]:
        raise BackendError(
            f"graph: {name} is a {type(model).__name__}, not the {CLASSES[shape.family]} of transformers. {WAY_OUT}"
        )
    kinds = {(weight.dtype, weight.device) for weight in model.parameters()}
    if len(kinds) > 1:
        formats = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
        raise BackendError(f"graph: the weights of {name} are not of one kind: {formats}. {WAY_OUT}")
    body = model.model
    return Weights(
        embedding=body.embed_tokens.weight.detach(),
        layers=tuple(_layer(layer, consume=consume) for layer in body.layers),
        norm=body.norm.weight.detach(),
        head=_matrix([model.lm_head]),
        rope=rope_table(body.rotary_emb, positions, body.embed_tokens.weight),
    )


def _layer(layer: Any, *, consume: bool) -> LayerWeights:
    attention, mlp = layer.self_attn, layer.mlp
    taken = LayerWeights(
        attention_norm=layer.input_layernorm.weight.detach(),
        qkv=_matrix([attention.q_proj, attention.k_proj, attention.v_proj]),
        query_norm=_scales(attention, "q_norm"),
        key_norm=_scales(attention, "k_norm"),
        out=_matrix([attention.o_proj]),
        mlp_norm=layer.post_attention_layernorm.weight.detach(),
        gate_up=_matrix([mlp.gate_proj, mlp.up_proj]),
        down=_matrix([mlp.down_proj]),
    )
    if consume:
        for module in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj):
            module.weight = None
    return taken


def _matrix(modules: Sequence[Any]) -> Matrix:
    """Return one map that does what several linear modules do side by side."""
    if len(modules) == 1:
        bias = modules[0].bias
        return Matrix(modules[0].weight.detach(), None if bias is None else bias.detach())
    weight = torch.cat([module.weight for module in modules])
    return Matrix(weight, None if modules[0].bias is None else torch.cat([module.bias for module in modules]))


def _scales(attention: Any, name: str) -> torch.Tensor | None:
    norm = getattr(attention, name, None)
    return None if norm is None else norm.weight.detach()
