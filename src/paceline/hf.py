"""paceline inside Hugging Face transformers: `model.generate(**inputs, custom_generate=adaptive(draft))`.

Names load on first use, so that importing this module does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paceline.backends.torch.reencoding import TranslatedDraft
    from paceline.backends.transformers.candidates import candidate_draft
    from paceline.backends.transformers.generate import Adaptive, adaptive
    from paceline.backends.transformers.models import HfDraft, HfTarget

__all__ = ["Adaptive", "HfDraft", "HfTarget", "TranslatedDraft", "adaptive", "candidate_draft"]

_PLACES = {
    "Adaptive": "transformers.generate",
    "HfDraft": "transformers.models",
    "HfTarget": "transformers.models",
    "TranslatedDraft": "torch.reencoding",
    "adaptive": "transformers.generate",
    "candidate_draft": "transformers.candidates",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"paceline.backends.{_PLACES[name]}"), name)
