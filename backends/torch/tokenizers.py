"""Tokenizers of transformers as codecs, and whether a draft and its target mean the same text by the same token.

Model families pad their vocabularies to different sizes; only the ids that both have are compared, and the
draft never proposes others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from paceline.backends.torch.load_errors import first_line
from paceline.core.codecs import tokenizer_difference
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.backends.torch.draft import DraftModel
    from paceline.backends.torch.target import TargetModel
    from paceline.core.protocols import Codec


class TokenizerCodec:
    """Text to tokens and back, with the special tokens a plain prompt gets (such as a beginning of sequence)."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @property
    def chat_template(self) -> str | None:
        """The chat template; all of them, one behind the other, where there are several."""
        template = getattr(self.tokenizer, "chat_template", None)
        return "\n".join(template.values()) if isinstance(template, dict) else template

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

    def encode_chat(
        self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
    ) -> list[int] | None:
        """Return the tokens of a conversation by the tokenizer's own chat template, or None if it has none.

        Raises:
            BackendError: The template, or transformers, refuses the messages or the options.
        """
        if not getattr(self.tokenizer, "chat_template", None):
            return None
        try:
            return list(
                self.tokenizer.apply_chat_template(
                    list(messages),
                    tokenize=True,
                    return_dict=False,
                    return_tensors=None,
                    **{"add_generation_prompt": True, **options},
                )
            )
        except Exception as error:  # a template is a program, and may raise anything
            raise BackendError(f"the chat template refuses these messages: {first_line(error)}") from error

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of the tokens, special tokens left out and spaces as they are."""
        return str(
            self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )


PADDING = 1024
"""The most by which vocabularies of one tokenizer differ: sizes are rounded up to a multiple of something below."""


class Speaker(Protocol):
    """Whoever has tokens and perhaps a tokenizer: a model, or what is known of one before it is loaded."""

    @property
    def codec(self) -> Codec | None:
        """Its tokenizer."""
        ...

    @property
    def vocabulary(self) -> int | None:
        """The number of its tokens; of a draft, of those that it may propose."""
        ...


def difference(target: Speaker, draft: Speaker) -> str | None:
    """Return in a sentence how the tokenizers of a pair differ; None where they do not, or only one is known."""
    ours, theirs = draft.codec, target.codec
    if ours is None or theirs is None:
        return None
    ids = None
    if (
        isinstance(theirs, TokenizerCodec)
        and isinstance(ours, TokenizerCodec)
        and draft.vocabulary is not None
    ):
        ids = _ids_differ(theirs, ours, draft.vocabulary)
    return ids or tokenizer_difference(theirs, ours)


def require_same_vocabulary(name: str, draft: DraftModel, target: TargetModel) -> None:
    """Refuse a draft that, as far as can be told without tokenizers, does not speak the target's tokens.

    Raises:
        BackendError: Their vocabularies differ by more than padding.
    """
    draft_size, target_size = draft.engine.vocabulary, target.vocabulary
    if abs(draft_size - target_size) > PADDING:
        raise BackendError(
            f"hf: the draft {name!r} ({draft.engine.name}) has a vocabulary of {draft_size} tokens and the target of "
            f"{target_size}, so they do not share a tokenizer. Give both, and its text is re-encoded: adaptive(..., "
            "tokenizer=..., assistant_tokenizer=...); or choose a draft of the target's family"
        )


def _ids_differ(target: TokenizerCodec, draft: TokenizerCodec, common: int) -> str | None:
    """Describe the first id below `common` that means different tokens, or return None.

    An id that only one of the two uses is padding in the other: a guess there is wasted, never wrong.
    """
    left, right = (
        {index: token for token, index in codec.tokenizer.get_vocab().items() if index < common}
        for codec in (target, draft)
    )
    both = sorted(left.keys() & right.keys())
    if not both:
        return "they have no token id in common."
    for index in both:
        if left[index] != right[index]:
            return f"token {index} is {left[index]!r} for the target and {right[index]!r} for the draft."
    return None
