"""The refusal of models whose cache cannot be rolled back.

Recurrent layers cannot go back at all. Whether a model can is found out by trying it once on a few tokens, not from a
list of names.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from paceline.backends.transformers.host.cache import keeps_running_state, kinds_of_layers
from paceline.backends.transformers.preparation import more_than_given, no_cache
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paceline.backends.transformers.engine import TransformersEngine


def require_rollback(engine: TransformersEngine) -> None:
    """Feed three tokens, go ahead by two passes, go back, and compare with never having gone ahead.

    Raises:
        BackendError: The model's cache cannot forget its last tokens.
    """
    tokens = [index % engine.vocabulary for index in (1, 2, 3)]
    plain, tried = engine.new_cache(), engine.new_cache()
    with _explained(engine, plain):
        engine.feed(plain, tokens)
        held = plain.get_seq_length()
    if held != len(tokens) and not keeps_running_state(plain):
        if held > len(tokens):
            raise more_than_given(engine, f"it reads {held} tokens where it is given {len(tokens)}")
        raise no_cache(engine.model, engine.name)
    with _explained(engine, plain):
        engine.feed(tried, tokens)
        engine.feed(tried, [tokens[0], tokens[0]])
        engine.feed(tried, [tokens[1]])
        tried.crop(-3)
        # The two passes compared have equal shapes, so that they agree to the last bits in any precision.
        expected, found = engine.feed(plain, tokens[:1]), engine.feed(tried, tokens[:1])
    if keeps_running_state(plain) or not torch.allclose(expected, found, rtol=1e-3, atol=1e-4):
        raise _refusal(engine, plain)


@contextmanager
def _explained(engine: TransformersEngine, made: Any) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as problem:
        raise _refusal(engine, made) from problem


def _refusal(engine: TransformersEngine, made: Any) -> BackendError:
    return BackendError(
        f"hf: {engine.name} ({type(engine.model).__name__}) cannot forget its last tokens, which speculative decoding "
        f"needs after a rejection; cache layers found: {kinds_of_layers(made)}. Recurrent and linear-attention models "
        "keep a running state that has no way back. Use a model with attention layers only."
    )
