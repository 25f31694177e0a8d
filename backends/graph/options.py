"""What a model of the graph backend can be told, besides which one it is."""

from __future__ import annotations

from typing import TypedDict


class GraphOptions(TypedDict, total=False):
    """The arguments of `GraphEngine` after the model; see there."""

    name: str | None
    max_context: int | None
    deterministic: bool
    packed: bool
    consume: bool
