"""Dimensions of a model, read before its weights are touched, and the refusal of models that cannot be run.

Four families share one shape: a norm, attention with rotary positions, a norm and a gated feed-forward network in each
layer. What a family adds (biases, norms of queries and keys) is read from its configuration or its weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator

FAMILIES: Final = ("llama", "mistral", "qwen2", "qwen3")
"""Model types of transformers."""

ROTATIONS: Final = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary positions that do not change with the length of the text."""

WAY_OUT: Final = "Use `backend: hf` for this model"


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a Llama-shaped model.

    Attributes:
        family: Its model type.
        vocabulary: Number of logits, padding included.
        hidden: Width of the residual stream.
        inner: Width of the feed-forward network.
        layers: Number of layers.
        heads, kv_heads: Attention heads of the queries, and of the keys and values.
        head_dim: Width of a head.
        norm_eps: Added to the mean square before its root is taken.
        head_norms: Whether queries and keys are normalised, head by head.
        tied: Whether the embedding is the head as well.
        positions: The longest context the model was made for.
        window: Tokens that attention reaches back; None where it reaches all. Longer contexts are refused.
    """

    family: str
    vocabulary: int
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    norm_eps: float
    head_norms: bool
    tied: bool
    positions: int
    window: int | None

    @property
    def groups(self) -> int:
        """Query heads for each head of keys and values."""
        return self.heads // self.kv_heads


def read_shape(config: Any, name: str) -> Shape:
    """Return the shape of a model.

    Args:
        config: Its configuration, of transformers.
        name: What messages call it.

    Raises:
        BackendError: The backend cannot run such a model; names what is in the way.
    """
    problem = shape_problem(config)
    if problem is not None:
        raise BackendError(f"graph: {name} {problem}. {WAY_OUT}")
    heads = config.num_attention_heads
    return Shape(
        family=config.model_type,
        vocabulary=config.vocab_size,
        hidden=config.hidden_size,
        inner=config.intermediate_size,
        layers=config.num_hidden_layers,
        heads=heads,
        kv_heads=config.num_key_value_heads or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        norm_eps=config.rms_norm_eps,
        head_norms=config.model_type == "qwen3",
        tied=bool(config.tie_word_embeddings),
        positions=config.max_position_embeddings,
        window=_window(config),
    )


def shape_problem(config: Any) -> str | None:
    """Say why the backend cannot run a model of this configuration, as a verb and what follows; None where it can."""
    return next(_problems(config), None)


def _problems(config: Any) -> Iterator[str]:
    """Say what is in the way, the family first."""
    family = getattr(config, "model_type", None)
    if family not in FAMILIES:
        yield f"is a {family} model; this backend runs {', '.join(FAMILIES)}"
    if config.hidden_act != "silu":
        yield f"has the activation {config.hidden_act!r}; this backend knows silu"
    rotation = config.rope_parameters.get("rope_type", "default")
    if rotation not in ROTATIONS:
        yield f"has rotary positions of type {rotation!r}; this backend knows {', '.join(ROTATIONS)}"
    if config.rope_parameters.get("partial_rotary_factor", 1.0) != 1.0:
        yield "turns only a part of each head by its position"
    if getattr(config, "quantization_config", None) is not None:
        yield "has quantised weights"
    strange = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if strange:
        yield f"has layers of type {', '.join(sorted(strange))}"


def _window(config: Any) -> int | None:
    """Return how far attention reaches back in the layer that sees least."""
    layers = getattr(config, "layer_types", None)
    if layers is not None and "sliding_attention" not in layers:
        return None
    window = getattr(config, "sliding_window", None)
    return None if window is None else int(window)
