"""Rotary positions that depend on the length of the text, so that a pass depends on how tokens are cut into passes.

Two kinds of transformers do (`ROPE_INIT_FUNCTIONS`). `longrope` turns all tokens of a pass in one of two ways, by the
last position in it: a pass must not reach past the switch unless it begins there, or reads the whole text at once as
`generate` does. `dynamic` turns past the switch by the length that was reached so far, which only passes of a single
token follow, so no text may get there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paceline.backends.transformers.host.cache import new_cache
from paceline.backends.transformers.host.generation import crossing

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Switch:
    """Where a model turns positions otherwise.

    Attributes:
        kind: The type of its rotary positions.
        length: The longest text that is turned the first way.
        cache: What `generate` does with the cache where a text gets longer than that: it is "kept", or it reads the
            text "anew", as Phi-3 does. None where no text can be followed past it.
    """

    kind: str
    length: int
    cache: str | None


def switch_of(model: Any, config: Any) -> Switch | None:
    """Return where a model switches first, or None if it never does.

    Args:
        model: The model, which is asked how it goes on there.
        config: Its configuration, that of the text model.
    """
    switches = [_switch(model, kind, rotation, config) for kind, rotation in _rotations(config)]
    return min((each for each in switches if each is not None), key=lambda each: each.length, default=None)


def _rotations(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield type and parameters of each kind of rotary positions: one for a model, or one for each type of layer."""
    found = getattr(config, "rope_parameters", None) or {}
    several = [each for each in found.values() if isinstance(each, dict)]
    for each in several or [found]:
        yield str(each.get("rope_type", "default")), each


def _switch(model: Any, kind: str, rotation: dict[str, Any], config: Any) -> Switch | None:
    if "dynamic" in kind:
        return Switch(kind, int(config.max_position_embeddings), None)
    if kind != "longrope":
        return None
    length = int(rotation["original_max_position_embeddings"])
    return Switch(kind, length, crossing(model, length, new_cache(config)))
