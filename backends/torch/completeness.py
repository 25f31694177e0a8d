"""Whether the weights are those of the model that config.json describes: every tensor there, and no other.

transformers fills what is missing with random numbers and leaves out what it does not expect, and goes on; a text from
such a model is noise. What is harmless to lack or to have (tied weights, the lists of the model classes) it knows best.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import AutoModelForCausalLM

from paceline.backends.torch.host import text_config
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from paceline.backends.torch.checkpoint import Tensor
    from paceline.backends.torch.config import ModelConfig

LAYERS: Final = 1000
"""More layers than any model has; beyond it, each must have a tensor of its own before they are built."""

SLACK: Final = 4
"""How many times as large as its weights a model may be; missing tensors below that are counted after loading."""

REMEDY: Final = "They belong to different models, or were damaged; copy both from where the model came from"


def described(config: ModelConfig, settings: Any, stored: Mapping[str, Tensor] | None) -> Any:
    """Return the model that config.json describes, without any weights.

    Args:
        config: Names the model.
        settings: What its config.json says.
        stored: The tensors that its files hold, if they are there.

    Raises:
        BackendError: The model is out of proportion to its weights, so that filling it would take all memory, or they
            hold tensors of another kind or shape under the name of a weight.
    """
    layers = getattr(text_config(settings), "num_hidden_layers", 0)
    if stored is not None and isinstance(layers, int) and layers > max(LAYERS, len(stored)):
        raise _refusal(
            config, f"config.json speaks of {layers} layers, the weights have {len(stored)} tensors"
        )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(settings, trust_remote_code=config.trust_remote_code)
    if stored is None or getattr(settings, "quantization_config", None) is not None:
        return model
    expected = sum(weight.numel() for weight in model.parameters())
    there = sum(tensor.numbers for tensor in stored.values())
    if expected > SLACK * there:
        raise _refusal(
            config, f"config.json describes a model of {expected} weights, and the files hold {there}"
        )
    _require_kinds(config, model, stored)
    return model


def _require_kinds(config: ModelConfig, model: Any, stored: Mapping[str, Tensor]) -> None:
    """Refuse tensors that bear the name of a weight and are of another kind; renamed ones are seen when loaded."""
    shapes = []
    for name, weight in model.named_parameters():
        tensor = stored.get(name)
        if tensor is None:
            continue
        if not tensor.floating:
            raise _refusal(
                config, f"the tensor {name} is of the format {tensor.dtype}, which is none of weights"
            )
        if tensor.shape != tuple(weight.shape):
            shapes.append((name, tensor.shape, tuple(weight.shape)))
    if shapes:
        raise _refusal(config, _other_shapes(shapes))


def require_complete(config: ModelConfig, info: Mapping[str, Any]) -> None:
    """Refuse a model of which not all was loaded, or not all that is in its files.

    Args:
        config: Names the model.
        info: What `from_pretrained(output_loading_info=True, ignore_mismatched_sizes=True)` tells.

    Raises:
        BackendError: Tensors are missing, left over, or of another shape; names some.
    """
    problems = []
    for key, what in (
        ("missing_keys", "are missing from the files"),
        ("unexpected_keys", "are not part of the model"),
    ):
        if info[key]:
            problems.append(f"{len(info[key])} tensors {what} ({_some(info[key])})")
    if info["mismatched_keys"]:
        problems.append(_other_shapes(info["mismatched_keys"]))
    problems += map(str, info["error_msgs"])
    if problems:
        raise _refusal(config, "; ".join(problems))


def _other_shapes(found: Collection[tuple[str, Sequence[int], Sequence[int]]]) -> str:
    """Say which tensors have another shape: name, the one in the files, the one of the model."""
    shapes = [f"{name} is {list(own)}, not {list(made)}" for name, own, made in sorted(found)]
    return f"{len(shapes)} tensors have another shape ({_some(shapes)})"


def _some(names: Collection[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (", ..." if len(listed) > 3 else "")


def _refusal(config: ModelConfig, why: str) -> BackendError:
    return BackendError(
        f"{config.backend}: the weights of {config.model!r} do not fit its config.json: {why}. {REMEDY}. A model that "
        "is meant to be so can be loaded with transformers and given to `HfTarget(model)`"
    )
