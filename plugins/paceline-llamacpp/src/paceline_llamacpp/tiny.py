"""A Llama of a few thousand random weights as a GGUF file, for trials and tests; written with the package `gguf`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Llama."""

    vocabulary: int = 96
    width: int = 64
    inner: int = 96
    layers: int = 2
    heads: int = 4
    shared_heads: int = 2
    context: int = 512
    rope_base: float = 10000.0
    epsilon: float = 1e-5


def write_tiny(path: Path, shape: Shape = Shape(), *, seed: int = 0) -> Path:
    """Write a model with random weights and tokens without text; return the path."""
    writer = header(path, shape)
    writer.add_tokenizer_model("none")
    return finish(writer, random_weights(shape, seed), path)


def header(path: Path, shape: Shape) -> Any:
    """Return a writer that knows the sizes; what the tokens are is left to the caller."""
    writer = import_module("gguf").GGUFWriter(path, "llama")
    writer.add_name(path.stem)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.shared_heads)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    return writer


def finish(writer: Any, tensors: Mapping[str, NDArray[np.float32]], path: Path) -> Path:
    """Write header and weights; return the path."""
    for name, tensor in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(tensor, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random_weights(shape: Shape, seed: int) -> dict[str, NDArray[np.float32]]:
    """Return weights under llama.cpp's names, large enough that the likeliest token stands out."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        drawn: NDArray[np.float64] = rng.standard_normal((rows, columns)) * 2.0 / np.sqrt(columns)
        return drawn.astype(np.float32)

    shared = shape.width // shape.heads * shape.shared_heads
    ones = np.ones(shape.width, np.float32)
    weights = {
        "token_embd.weight": matrix(shape.vocabulary, shape.width) * 4,
        "output_norm.weight": ones,
        "output.weight": matrix(shape.vocabulary, shape.width),
    }
    for layer in range(shape.layers):
        weights |= {
            f"blk.{layer}.{name}.weight": tensor
            for name, tensor in {
                "attn_norm": ones,
                "attn_q": matrix(shape.width, shape.width),
                "attn_k": matrix(shared, shape.width),
                "attn_v": matrix(shared, shape.width),
                "attn_output": matrix(shape.width, shape.width),
                "ffn_norm": ones,
                "ffn_gate": matrix(shape.inner, shape.width),
                "ffn_up": matrix(shape.inner, shape.width),
                "ffn_down": matrix(shape.width, shape.inner),
            }.items()
        }
    return weights
