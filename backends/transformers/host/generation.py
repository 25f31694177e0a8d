"""The inputs that `generate` hands to a loop in the place of its own, and the outputs that it expects back.

Rotary positions that depend on the length of the text make a pass depend on how tokens are cut into passes. Two kinds
of transformers do (`ROPE_INIT_FUNCTIONS`). `longrope` turns all tokens of a pass in one of two ways, by the last
position in it: a pass must not reach past the switch unless it begins there, or reads the whole text at once as
`generate` does. `dynamic` turns past the switch by the length that was reached so far, which only passes of a single
token follow, so no text may get there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from transformers.generation.utils import GenerateDecoderOnlyOutput

from paceline.backends.torch.engine import RopeSwitch
from paceline.backends.torch.host import keeps_logits, takes_positions
from paceline.backends.transformers.host.cache import CACHE, new_cache

if TYPE_CHECKING:
    from collections.abc import Iterator


READ: Final = frozenset({"attention_mask", "position_ids", CACHE})
"""Inputs of the first forward pass that a loop must honour."""

MEANINGLESS: Final = frozenset({"logits_to_keep", "use_cache", "cache_position"})
"""Say how a forward pass is to be made, which the loop knows better; they change no token."""


COMPILING: Final = frozenset({"cuda", "xpu"})
"""Kinds of device on which `generate` compiles its passes by itself, once it is told to use a static cache."""


def static_cache(tokens: int) -> dict[str, Any]:
    """Return what tells `generate` to use a static cache for so many tokens, where `COMPILING` compiled.

    Rounded up to a power of two, since it compiles anew for a cache longer than any before.
    """
    return {"cache_implementation": "static", "max_cache_len": 1 << (tokens - 1).bit_length()}


def mode_of(config: Any) -> str:
    """Return how a resolved generation configuration decodes: "greedy_search", "sample", or another mode's name."""
    mode = config.get_generation_mode()
    return str(getattr(mode, "value", mode))


def mask_length(config: Any) -> int | None:
    """Return how long the attention mask is that `generate` was given: shorter or longer than the text in some uses."""
    return getattr(config, "_mask_length", None)


def pad_token(config: Any) -> int:
    """Return what rows are filled up with; 0 where there is nothing, since no row then ends before the others.

    `generate` works it out from several settings and keeps it there as a tensor.
    """
    token = config._pad_token_tensor  # noqa: SLF001 - see above
    return 0 if token is None else int(token)


def decoder_output(cache: Any, **values: Any) -> GenerateDecoderOnlyOutput:
    """Return what `generate` returns with `return_dict_in_generate`."""
    return GenerateDecoderOnlyOutput(**values, **{CACHE: cache})


def prepares(model: Any) -> bool:
    """Tell whether a model can be asked what `generate` would feed it."""
    return hasattr(model, "prepare_inputs_for_generation")


def preparation(model: Any) -> str:
    """Return the name of what prepares the passes of `generate`."""
    prepare = model.prepare_inputs_for_generation
    return str(getattr(prepare, "__qualname__", type(prepare).__name__))


@torch.inference_mode()
def two_passes(model: Any, ids: torch.Tensor, cache: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits that `generate` gets after all tokens but the last, and then after the last.

    The input of each pass is worked out as `generate` does it for a single row without padding.

    Args:
        model: The model.
        ids: Shape (1, tokens).
        cache: An empty one.

    Returns:
        Shape (1, vocabulary) each.
    """
    given = {CACHE: cache, "attention_mask": None, "use_cache": True}
    if takes_positions(model):
        given["position_ids"] = torch.arange(ids.shape[1] - 1, device=ids.device)[None]
    if keeps_logits(model):
        given["logits_to_keep"] = 1
    first = model.prepare_inputs_for_generation(
        ids[:, :-1], next_sequence_length=ids.shape[1] - 1, is_first_iteration=True, **given
    )
    output = model(**first, return_dict=True)
    given = model._update_model_kwargs_for_generation(output, given)  # noqa: SLF001 - part of the preparation
    then = model.prepare_inputs_for_generation(ids, next_sequence_length=1, **given)
    return output.logits[0, -1:], model(**then, return_dict=True).logits[0, -1:]


@torch.inference_mode()
def behind_padding(model: Any, ids: torch.Tensor, count: int, cache: Any) -> torch.Tensor:
    """Return the logits that `generate` gets for a row whose first `count` tokens are padding, shape (1, vocabulary).

    For models that are not told positions, which then follow from the mask, or count the padding.
    """
    mask = torch.ones_like(ids)
    mask[:, :count] = 0
    given = {CACHE: cache, "attention_mask": mask, "use_cache": True}
    inputs = model.prepare_inputs_for_generation(
        ids, next_sequence_length=ids.shape[1], is_first_iteration=True, **given
    )
    return model(**inputs, return_dict=True).logits[0, -1:]  # type: ignore[no-any-return]


def crossing(model: Any, length: int, cache: Any) -> str | None:
    """Return what `generate` does with a full cache when a text gets longer than `length`.

    Args:
        model: The model, which may have a preparation of its own for this.
        length: Of the text.
        cache: A new one, which is made to say that it is full.

    Returns:
        "kept", "anew" where the whole text is read again, None where what is fed makes no sense: transformers 5.16
        drops the cache of Phi-3 and still feeds a single token.
    """
    if not prepares(model):
        return "kept"
    cache.get_seq_length = lambda *_: length
    ids = torch.zeros((1, length + 1), dtype=torch.long, device=model.device)
    positions = torch.arange(length + 1, device=model.device)[None]
    inputs = model.prepare_inputs_for_generation(
        ids,
        next_sequence_length=1,
        attention_mask=None,
        position_ids=positions,
        use_cache=True,
        **{CACHE: cache},
    )
    if inputs.get(CACHE) is not None:
        return "kept"
    return "anew" if inputs["input_ids"].shape[1] == length + 1 else None


def switch_of(model: Any, config: Any) -> RopeSwitch | None:
    """Return where a model switches first, or None if it never does.

    Args:
        model: The model, which is asked how it goes on there.
        config: Its configuration, that of the text model.
    """
    switches = [_switch(model, kind, rotation, config) for kind, rotation in _rotations(config)]
    return min((each for each in switches if each is not None), key=lambda each: each.length, default=None)


def _rotations(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield type and parameters of each kind of rotary positions: one for a model, or one for each type of layer."""
    parameters = getattr(config, "rope_parameters", None) or {}
    by_layer_type = [each for each in parameters.values() if isinstance(each, dict)]
    for each in by_layer_type or [parameters]:
        yield str(each.get("rope_type", "default")), each


def _switch(model: Any, kind: str, rotation: dict[str, Any], config: Any) -> RopeSwitch | None:
    if "dynamic" in kind:
        return RopeSwitch(kind, int(config.max_position_embeddings), None)
    if kind != "longrope":
        return None
    length = int(rotation["original_max_position_embeddings"])
    return RopeSwitch(kind, length, crossing(model, length, new_cache(config)))
