"""What trying a model has shown, and what it was tried as: a fact holds as long as what it was read from.

A model that is resized, moved, cast, or wrapped by an adapter is another one in these respects, so it is tried again.
"""

from __future__ import annotations

import inspect
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from paceline.backends.torch.model import RopeSwitch


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a model.

    Attributes:
        basis: What they were read from; see `basis_of`.
        device: Where tokens are fed and logits come out.
        vocabulary: The number of logits, padding included.
        cache_name: As what it takes its cache.
        keeps_logits: Whether it can be told how many logits to work out.
        takes_positions: Whether it can be told the positions of its tokens.
        switch: Where it turns positions otherwise, if it does.
    """

    basis: tuple[object, ...]
    device: torch.device
    vocabulary: int
    cache_name: str
    keeps_logits: bool
    takes_positions: bool
    switch: RopeSwitch | None


def basis_of(model: Any) -> tuple[object, ...]:
    """Return what the facts about a model are read from, in a form that compares; keeps nothing of it alive."""
    ways = (model.forward, getattr(model, "prepare_inputs_for_generation", None))
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    weights = (getattr(end, "weight", None) for end in ends)
    return (
        *(_weak(way) for way in ways),
        *((w.shape, w.dtype, w.device) for w in weights if w is not None),
    )


def _weak(way: Any) -> object:
    if way is None:
        return None
    return weakref.WeakMethod(way) if inspect.ismethod(way) else weakref.ref(way)
