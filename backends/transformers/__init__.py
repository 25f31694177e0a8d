"""Targets and drafts from Hugging Face transformers.

`HfTarget(model, tokenizer)` and `HfDraft(model)` take models already in memory; `TranslatedDraft(draft, target)` is for
two tokenizers; `HfConfig` loads by name. Nothing here imports torch before one of the first three is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.backends.transformers.config import HfConfig
from paceline.core.lazy import lazy

if TYPE_CHECKING:
    from paceline.backends.torch.reencoding import TranslatedDraft
    from paceline.backends.transformers.models import HfDraft, HfTarget

__all__ = ["HfConfig", "HfDraft", "HfTarget", "TranslatedDraft"]

__getattr__, __dir__ = lazy(__name__)
