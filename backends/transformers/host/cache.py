"""The cache of keys and values: what it is called, and how it is made to go back.

A cache grows with every forward pass and drops tokens from its end by `crop(-count)`, in place. Layers that keep only a
window of the past must be told to record it first.
"""

from __future__ import annotations

import inspect
from dataclasses import fields
from functools import cache as once
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers.cache_utils import (
    Cache,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    StaticCache,
    StaticLayer,
)
from transformers.generation.utils import GenerateDecoderOnlyOutput

from paceline.backends.torch.host import takes_positions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from paceline.backends.transformers.rows_layout import Layout

CACHE_NAMES: Final = ("cache", "past_key_values")
"""Names of the cache, the newest first: transformers 5.24 says `cache` where releases before say `past_key_values`.
Old names still work there as arguments, with a warning."""


def _first(names: Mapping[str, Any]) -> str | None:
    return next((name for name in CACHE_NAMES if name in names), None)


CACHE: Final = _first({field.name: field for field in fields(GenerateDecoderOnlyOutput)}) or CACHE_NAMES[0]
"""Name of the cache in this release: in `generate`, in what that hands on, and in what it returns."""


STATIC_CACHES_ROLL_BACK: Final = hasattr(StaticLayer, "crop")
"""True if assisted generation takes a static cache, and so compiles its passes: from 5.24 on; before, it refuses."""


def cache_argument(forward: Callable[..., Any]) -> str | None:
    """Return as what a forward pass takes the cache, None where it takes none.

    A model may be older than the release it runs on, such as one with code of its own.
    """
    return _first(inspect.signature(forward).parameters)


ROOM: Final = 64
"""Tokens for which a layer that grows makes room at least."""


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values with room for more, so that what is there is not copied for every token that comes."""

    _held_keys: torch.Tensor
    _held_values: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write further tokens behind those that are there; return all of them."""
        held = self.get_seq_length()
        needed = held + key_states.shape[-2]
        if not self.is_initialized or self._held_keys.shape[-2] < needed:
            before = (self.keys, self.values) if held else (None, None)
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            self._held_keys = _roomier(before[0], key_states, needed)
            self._held_values = _roomier(before[1], value_states, needed)
        self._held_keys[:, :, held:needed] = key_states
        self._held_values[:, :, held:needed] = value_states
        self.keys, self.values = self._held_keys[:, :, :needed], self._held_values[:, :, :needed]
        return self.keys, self.values


def _roomier(held: torch.Tensor | None, new: torch.Tensor, needed: int) -> torch.Tensor:
    """Return what is held with room for more than is needed, where what is new has this form."""
    batch, heads, _, width = new.shape
    made = new.new_empty((batch, heads, max(needed + ROOM, needed * 3 // 2), width))
    if held is not None:
        made[:, :, : held.shape[-2]] = held
    return made


class SharedLayer(DynamicLayer):  # type: ignore[misc]
    """One layer of the caches of several rows, in a single pass: each row's new tokens go into its own.

    Args:
        layers: Of each row's cache.
        layout: Where the rows stand in the pass.
        room: Where the rows are gathered, the same for all layers of a pass: each is done with it before the next one
            begins. Fresh memory for every layer was measured to take half of a pass over rows of 400 tokens.
    """

    def __init__(self, layers: Sequence[GrowingLayer], layout: Layout, room: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self._layers = layers
        self._layout = layout
        self._room = room

    def get_seq_length(self) -> int:
        """Return the tokens of the longest row before the pass."""
        return max(place.filled for place in self._layout.places)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Give each row its new tokens; return those of all rows, side by side as the mask says."""
        keys, values = self._gathered("keys", key_states), self._gathered("values", value_states)
        for layer, place in zip(self._layers, self._layout.places, strict=True):
            lane, new = place.lane, slice(place.query, place.query + place.tokens)
            own = layer.update(key_states[lane : lane + 1, :, new], value_states[lane : lane + 1, :, new])
            all_of_it = slice(place.key, place.key + place.filled + place.tokens)
            keys[lane, :, all_of_it], values[lane, :, all_of_it] = own[0][0], own[1][0]
        return keys, values

    def _gathered(self, kind: str, new: torch.Tensor) -> torch.Tensor:
        """Return room for the keys or values of all rows, in the form of the new ones."""
        layout, known = self._layout, self._room.get(kind)
        shape = (layout.lanes, new.shape[1], layout.keys, new.shape[-1])
        if known is None or (known.shape, known.dtype, known.device) != (shape, new.dtype, new.device):
            # A weight of 0 makes nothing of what is no number, so that no place may be left as it is found.
            known = self._room[kind] = new.new_zeros(shape)
        return known


def shared_cache(caches: Sequence[Any], layout: Layout) -> Cache:
    """Return a cache for one pass over several rows, which leaves each row's tokens in its own cache."""
    room: dict[str, torch.Tensor] = {}
    layers = zip(*(cache.layers for cache in caches), strict=True)
    return Cache(layers=[SharedLayer(rows, layout, room) for rows in layers])


def new_cache(config: Any) -> DynamicCache:
    """Return an empty cache for a model of this configuration, ready to be rolled back."""
    made = DynamicCache(config=config)
    if all(type(layer) is DynamicLayer for layer in made.layers):
        made.layers = [GrowingLayer() for _ in made.layers]
    if not windows_record_many_passes():
        # A full layer is correct for a windowed one: the mask hides what lies outside the window.
        made.layers = [DynamicLayer() if type(x) is DynamicSlidingWindowLayer else x for x in made.layers]
    record_past(made)
    return made


def record_past(cache: DynamicCache) -> None:
    """Let layers that keep only a window of the past keep what a rollback brings back, until the next crop."""
    cache.activate_past_recording()


@once
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


def can_go_on(cache: Any) -> bool:
    """Tell whether a cache that somebody else made can be read on with and rolled back.

    Others are not exactly this class, are kept on another device, or hold windows that do not record.
    """
    if type(cache) is not DynamicCache or getattr(cache, "offloading", False):
        return False
    windows = any(isinstance(layer, DynamicSlidingWindowLayer) for layer in cache.layers)
    return not windows or windows_record_many_passes()


def empty(cache: Any, fresh: Any) -> None:
    """Make a cache hold nothing, as `fresh` does, which goes into it. `reset` leaves zeros there in 5.16."""
    cache.layers = fresh.layers


def cut(cache: Any, most: int) -> bool:
    """Drop what stands after the first `most` tokens, or after what all layers hold; tell whether that was possible."""
    known = {DynamicLayer, DynamicSlidingWindowLayer, GrowingLayer}
    if any(type(layer) not in known for layer in cache.layers):
        # Such a layer may have been changed without being any longer.
        return False
    # Where layers share their keys, those that have none stay empty.
    layers: list[Any] = [layer for layer in cache.layers if layer.is_initialized]
    held = min([most, *(int(layer.get_seq_length()) for layer in layers)])
    if not all(_reaches(layer, held) for layer in layers):
        return False
    for layer in layers:
        layer.crop(held - layer.get_seq_length())
    return True


def _reaches(layer: Any, length: int) -> bool:
    """Tell whether a layer still has what it needs to be as it was after `length` tokens."""
    stored, counted = layer.keys.shape[-2], int(layer.get_seq_length())
    if layer.values.shape[-2] != stored:
        return False
    needed = min(length, layer.sliding_window - 1) if layer.is_sliding else length
    return bool(stored - (counted - length) >= needed)


WINDOWS: Final = ("sliding_window", "window_size", "attention_window", "attention_chunk_size")
"""Names under which configurations have how far attention reaches back."""


def branching_problem(model: Any, config: Any, attention: str | None = None) -> str | None:
    """Say why a mask of ours cannot let branches stand side by side in a cache; None where nothing is known against it.

    Windows and chunks are counted along the cache, where branches stand one after the other.

    Args:
        model: The model; its weights need not be there.
        config: What describes the part that writes text.
        attention: The implementation that it will be loaded with; its own if None.
    """
    if not takes_positions(model):
        return "its forward pass takes no positions"
    attention = attention or str(model.config._attn_implementation)  # noqa: SLF001 - there is no public way to read it
    if attention not in {"eager", "sdpa"}:
        return f"its attention implementation, {attention}, takes no mask of its caller; use sdpa or eager"
    kinds = {type(layer) for layer in DynamicCache(config=config).layers} - {DynamicLayer}
    if kinds:
        return f"its cache has layers of the kind {', '.join(sorted(kind.__name__ for kind in kinds))}"
    window = next((name for name in WINDOWS if getattr(config, name, None)), None)
    return None if window is None else f"it has a window (`{window}`)"


def keep_path(cache: Any, base: int, path: Sequence[int]) -> None:
    """Let the tokens after the first `base` be those at the places `path` after them, ascending, and no others."""
    first = next((place for place, moved in enumerate(path) if place != moved), len(path))
    if first < len(path):
        numbers = [base + place for place in path[first:]]
        # Where layers share their keys, those that have none stay empty.
        for layer in (layer for layer in cache.layers if layer.is_initialized):
            for states in (layer.keys, layer.values):
                kept = states.index_select(2, torch.tensor(numbers, device=states.device))
                states[:, :, base + first : base + len(path)] = kept
    cache.crop(base + len(path) - cache.get_seq_length())


def contents(cache: Any) -> list[tuple[torch.Tensor, torch.Tensor]] | None:
    """Return keys and values of each layer, shape (1, heads, tokens, head_dim); None where some tokens are missing.

    An empty cache has no contents.
    """
    held = int(cache.get_seq_length())
    pairs = [(layer.keys, layer.values) for layer in cache.layers] if held else []
    whole = all(each.shape[-2] == held for pair in pairs for each in pair)
    return pairs if whole else None


def append(cache: Any, pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Let a cache hold further tokens: keys and values of each layer, shape (1, heads, tokens, head_dim)."""
    for index, (keys, values) in enumerate(pairs):
        cache.update(keys, values, index)
    cache.crop(0)  # layers that record what leaves their window let go of it


def replaceable(cache: Any) -> bool:
    """Tell whether a cache, while it is empty, gives the tokens that one of `new_cache` gives."""
    return isinstance(cache, DynamicCache | StaticCache)


def keeps_running_state(cache: Any) -> bool:
    """Tell whether a used cache holds running sums over the past, which a crop leaves as they are."""
    states = (state for layer in cache.layers for state in getattr(layer, "recurrent_states", {}).values())
    return any(state is not None for state in states)


def kinds_of_layers(cache: Any) -> str:
    """Return the classes of its layers, for messages."""
    return ", ".join(sorted({type(layer).__name__ for layer in cache.layers})) or "none"
