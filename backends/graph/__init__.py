"""Llama-shaped models at the speed that the machine's memory allows: static caches, joined and prepacked matrices.

`GraphTarget(model, tokenizer)` and `GraphDraft(model)` take models of transformers already in memory; `GraphConfig`
loads by name. Nothing here imports torch before one of the first two is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from paceline.backends.graph.config import GraphConfig

if TYPE_CHECKING:
    from paceline.backends.graph.models import GraphDraft, GraphTarget

__all__ = ["GraphConfig", "GraphDraft", "GraphTarget"]


def __getattr__(name: str) -> Any:
    if name not in {"GraphDraft", "GraphTarget"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("paceline.backends.graph.models"), name)
