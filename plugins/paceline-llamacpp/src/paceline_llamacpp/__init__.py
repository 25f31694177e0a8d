"""llama.cpp as an engine of paceline: GGUF models as targets and drafts, on the API of llama-cpp-python.

Nothing of llama.cpp is loaded before a model is built or asked about.
"""

from __future__ import annotations

from typing import Final

from paceline import BackendConfig, hookimpl
from paceline_llamacpp.config import LlamaCppConfig

__all__ = ["LlamaCppConfig"]

PACELINE_INTERFACE: Final = 1


@hookimpl
def register_backends() -> list[type[BackendConfig]]:
    """Return the configuration block of the backend."""
    return [LlamaCppConfig]
