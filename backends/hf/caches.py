"""Key-value caches that can be rolled back, and the refusal of models that have none.

A cache grows with every forward pass and drops tokens from its end by `crop(-count)`. Layers that keep only a
window of the past must be told to record it first (`activate_past_recording`). Recurrent layers cannot go back
at all. Whether a model can is found out by trying it once on a few tokens, not from a list of names.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from paceline.backends.hf.engine import Engine


def new_cache(config: Any) -> DynamicCache:
    """Return an empty cache for a model of this configuration, ready to be rolled back."""
    made = DynamicCache(config=config)
    if not windows_record_many_passes():
        # A full layer is correct for a windowed one: the mask hides what lies outside the window.
        made.layers = [DynamicLayer() if type(x) is DynamicSlidingWindowLayer else x for x in made.layers]
    made.activate_past_recording()
    return made


@cache
def windows_record_many_passes() -> bool:
    """Tell whether a recording window layer stays consistent over several passes without a crop between.

    transformers 5.16 returns more keys than its own mask size announces; later releases return what they announce.
    """
    layer = DynamicSlidingWindowLayer(sliding_window=2)
    layer.activate_past_recording()
    state = torch.zeros(1, 1, 1, 1)
    for _ in range(4):
        announced = layer.get_mask_sizes(1)[0]
        keys, _ = layer.update(state, state)
        if keys.shape[-2] != announced:
            return False
    return True


def require_rollback(engine: Engine) -> None:
    """Feed three tokens, go ahead by two passes, go back, and compare with never having gone ahead.

    Raises:
        BackendError: The model's cache cannot forget its last tokens.
    """
    tokens = [index % engine.vocabulary for index in (1, 2, 3)]
    plain, tried = engine.new_cache(), engine.new_cache()
    try:
        engine.feed(plain, tokens)
        engine.feed(tried, tokens)
        engine.feed(tried, [tokens[0], tokens[0]])
        engine.feed(tried, [tokens[1]])
        tried.crop(-3)
        # The two passes compared have equal shapes, so that they agree to the last bits in any precision.
        expected, found = engine.feed(plain, tokens[:1]), engine.feed(tried, tokens[:1])
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as problem:
        if isinstance(problem, torch.OutOfMemoryError):
            raise
        raise _refusal(engine, plain) from problem
    if _recurrent(plain) or not torch.allclose(expected, found, rtol=1e-3, atol=1e-4):
        raise _refusal(engine, plain)


def _recurrent(made: DynamicCache) -> bool:
    """Tell whether a used cache holds running sums over the past, which a crop would leave as they are."""
    states = (state for layer in made.layers for state in getattr(layer, "recurrent_states", {}).values())
    return any(state is not None for state in states)


def _refusal(engine: Engine, made: DynamicCache) -> BackendError:
    layers = ", ".join(sorted({type(layer).__name__ for layer in made.layers})) or "none"
    return BackendError(
        f"hf: {engine.name} ({type(engine.model).__name__}) cannot forget its last tokens, which speculative decoding "
        f"needs after a rejection; cache layers found: {layers}. Recurrent and linear-attention models keep a "
        "running state that has no way back. Use a model with attention layers only."
    )
