"""A tokenizer of transformers as a codec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence


class HfCodec:
    """Text to tokens and back, with the special tokens a plain prompt gets (such as a beginning of sequence)."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a prompt; for an empty text, one token that begins or ends a sequence.

        Raises:
            BackendError: The text gives no token and the tokenizer has no such special token.
        """
        tokens = list(self.tokenizer(text, verbose=False)["input_ids"])
        if tokens:
            return tokens
        for name in ("bos_token_id", "eos_token_id"):
            special = getattr(self.tokenizer, name, None)
            if special is not None:
                return [int(special)]
        raise BackendError(
            f"hf: {text!r} gives no token, and the tokenizer has no beginning-of-sequence or end-of-sequence token to "
            "start from; give a prompt that is not empty"
        )

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of the tokens, special tokens left out and spaces as they are."""
        return str(
            self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )
