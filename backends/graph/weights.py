"""The weights of a model, taken from transformers and joined where one product can do the work of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from paceline.backends.graph.layers import RopeTable, rope_table
from paceline.backends.graph.shape import WAY_OUT, Shape
from paceline.backends.torch.host import release_named
from paceline.backends.torch.pages import FileMappings, return_free_memory
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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

    @classmethod
    def side_by_side(cls, *parts: Matrix) -> Matrix:
        """Return the map to the outputs of all parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        biases = [part.bias for part in parts if part.bias is not None]
        return cls(torch.cat([part.weight for part in parts]), torch.cat(biases) if biases else None)

    def to(self, dtype: torch.dtype) -> Matrix:
        """Return the map in another number format; the same one where it has it already."""
        return Matrix(self.weight.to(dtype), None if self.bias is None else self.bias.to(dtype))


@dataclass(frozen=True, slots=True, eq=False)
class LayerWeights:
    """One layer.

    Attributes:
        attention_norm: Scales before attention, shape (hidden,).
        qkv: To queries, keys and values, one head after the other: (heads + 2 kv_heads) * head_dim outputs.
        query_norm, key_norm: Scales of each head, shape (head_dim,); None in most families.
        out: From the heads back to the hidden states.
        mlp_norm: Scales before the feed-forward network, shape (hidden,).
        gate_up: To the gate, and to the values, `inner` outputs each; or one map to both.
        down: From the inner width back to the hidden states.
    """

    attention_norm: torch.Tensor
    qkv: Matrix
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None
    out: Matrix
    mlp_norm: torch.Tensor
    gate_up: tuple[Matrix, ...]
    down: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A model but for its layers: embedding, last norm, head, and the turns that stand for positions.

    Attributes:
        embedding: In the number format that the model has it in, which may be another than that of the rest.
    """

    embedding: torch.Tensor
    norm: torch.Tensor
    head: Matrix
    rope: RopeTable

    @property
    def dtype(self) -> torch.dtype:
        """The number format that is computed in."""
        return self.norm.dtype

    @property
    def device(self) -> torch.device:
        """Device of all of them."""
        return self.norm.device


@release_named()
@torch.inference_mode()
def take_weights(
    model: Any, shape: Shape, *, positions: int, name: str, dtype: torch.dtype | None = None
) -> Weights:
    """Return the weights of a model of transformers, but for its layers; the model's own memory where that can be.

    Args:
        model: A model of one of the four families, on its device.
        shape: What `read_shape` says of it.
        positions: How many positions will be asked for.
        name: What messages call it.
        dtype: The number format to compute in; the model's own if None.

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
    embedding = body.embed_tokens.weight.detach()
    return Weights(
        embedding=embedding,
        norm=body.norm.weight.detach().to(dtype or embedding.dtype),
        head=_matrix([model.lm_head]),
        rope=rope_table(body.rotary_emb, positions, embedding.new_empty(1, dtype=dtype)),
    )


@torch.inference_mode()
def take_layers(model: Any, dtype: torch.dtype, *, consume: bool = False) -> Iterator[LayerWeights]:
    """Yield the layers of a model that `take_weights` has taken; the model's own memory where that can be.

    Args:
        model: The same model.
        dtype: The number format of the norms. Matrices are as the model has them.
        consume: Let go of the head when the first layer is asked for, and of each layer of `model` when the next one
            is, so that memory holds one copy; the model cannot be used afterwards.
    """
    files = FileMappings() if consume else None
    if files is not None:
        # Of an embedding in a file, tied to the head or not, the rows that are looked up come back.
        files.let_go(model.model.embed_tokens.weight)
        _let_go(model.lm_head, files)
    for layer in model.model.layers:
        yield _layer(layer, dtype)
        if files is not None:
            _let_go(layer, files)
            return_free_memory()  # else what conversions leave between packed matrices adds up


def _let_go(parts: torch.nn.Module, files: FileMappings) -> None:
    """Take the matrices out of a part of a model, and those that lie in a file out of memory."""
    for module in parts.modules():
        if isinstance(module, torch.nn.Linear):
            files.let_go(module.weight)
            module.weight = module.bias = None  # type: ignore[assignment]


def _layer(layer: Any, dtype: torch.dtype) -> LayerWeights:
    attention, mlp = layer.self_attn, layer.mlp
    return LayerWeights(
        attention_norm=layer.input_layernorm.weight.detach().to(dtype),
        qkv=_matrix([attention.q_proj, attention.k_proj, attention.v_proj]),
        query_norm=_scales(attention, "q_norm", dtype),
        key_norm=_scales(attention, "k_norm", dtype),
        out=_matrix([attention.o_proj]),
        mlp_norm=layer.post_attention_layernorm.weight.detach().to(dtype),
        gate_up=(_matrix([mlp.gate_proj]), _matrix([mlp.up_proj])),
        down=_matrix([mlp.down_proj]),
    )


def _matrix(modules: Sequence[Any]) -> Matrix:
    """Return one map that does what several linear modules do side by side."""
    return Matrix.side_by_side(
        *(
            Matrix(module.weight.detach(), None if module.bias is None else module.bias.detach())
            for module in modules
        )
    )


def _scales(attention: Any, name: str, dtype: torch.dtype) -> torch.Tensor | None:
    norm = getattr(attention, name, None)
    return None if norm is None else norm.weight.detach().to(dtype)
