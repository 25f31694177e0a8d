"""paceline inside Hugging Face transformers: `model.generate(**inputs, custom_generate=adaptive(draft))`.

Names load on first use, so that importing this module does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.core.lazy import lazy

if TYPE_CHECKING:
    from paceline.backends.torch.reencoding import TranslatedDraft
    from paceline.backends.transformers.candidates import candidate_draft
    from paceline.backends.transformers.generate import Adaptive, adaptive
    from paceline.backends.transformers.models import HfDraft, HfTarget

__all__ = ["Adaptive", "HfDraft", "HfTarget", "TranslatedDraft", "adaptive", "candidate_draft"]

__getattr__, __dir__ = lazy(__name__)
