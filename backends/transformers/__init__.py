"""Targets and drafts from Hugging Face transformers.

`HfTarget(model, tokenizer)` and `HfDraft(model)` take models already in memory; `TranslatedDraft(draft, target)` is for
two tokenizers; `HfConfig` loads by name. Nothing here imports torch before one of the first three is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from paceline.backends.transformers.config import HfConfig

if TYPE_CHECKING:
    from paceline.backends.torch.reencoding import TranslatedDraft
    from paceline.backends.transformers.models import HfDraft, HfTarget

__all__ = ["HfConfig", "HfDraft", "HfTarget", "TranslatedDraft"]

_LAZY = {
    "HfDraft": "paceline.backends.transformers.models",
    "HfTarget": "paceline.backends.transformers.models",
    "TranslatedDraft": "paceline.backends.torch.reencoding",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
