"""Comparison of two tokenizers by the tokens that they make of a few texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from paceline.core.protocols import Codec

PROBES: Final = (
    "The quick brown fox, 42 times.",
    "def f(x):\n    return x + 1\n",
    "  two  spaces\tand a tab",
    "Größe, naïve, 数学, привет",
)
"""Texts on which different merges, normalisers and pre-tokenizers of equal vocabularies give themselves away."""


def tokenizer_difference(target: Codec, draft: Codec) -> str | None:
    """Return in a sentence how two tokenizers differ on a few texts; None where they do not.

    For backends whose drafts propose tokens of their own: those are the target's only where both write the same.
    """
    for text in PROBES:
        left, right = target.encode(text), draft.encode(text)
        if left != right:
            return f"{text!r} becomes {left[:8]}... for the target and {right[:8]}... for the draft."
    return None
