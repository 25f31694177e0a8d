"""The tokenizer and the chat template inside a GGUF file."""

from __future__ import annotations

import ctypes
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from paceline import BackendError
from paceline_llamacpp.library import BACKEND, ints

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline_llamacpp.model import GgufModel

BYTES_A_TOKEN: Final = 16
"""Room for the text of a token; what needs more is asked for again."""


def codec_of(model: GgufModel) -> GgufCodec | None:
    """Return the tokenizer of a model; None where its tokens have no text."""
    return GgufCodec(model) if model.has_text else None


class GgufCodec:
    """Text to tokens and back, as llama.cpp does it, with the special tokens a plain prompt gets.

    Args:
        model: The file that holds vocabulary and template.
    """

    def __init__(self, model: GgufModel) -> None:
        self.model = model

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a prompt; for an empty text, the token that begins or ends a sequence.

        Raises:
            BackendError: The text gives no token and the vocabulary has no such token.
        """
        tokens = self._tokenize(text, special=True)
        if tokens:
            return tokens
        for name in ("bos", "eos"):
            if (token := self._special(name)) is not None:
                return [token]
        raise BackendError(
            f"{BACKEND}: {text!r} gives no token, and the vocabulary has no beginning-of-sequence or end-of-sequence "
            "token to start from; give a prompt that is not empty"
        )

    def encode_chat(
        self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
    ) -> list[int] | None:
        """Return the tokens of a conversation by the file's own chat template, or None if it has none.

        The template runs in jinja2's sandbox, as llama-cpp-python sets it up.

        Raises:
            BackendError: The template refuses the messages or the options.
        """
        if self.chat_template is None:
            return None
        more = {"add_generation_prompt": True, **options}
        try:
            formatter = import_module("llama_cpp.llama_chat_format").Jinja2ChatFormatter(
                self.chat_template,
                eos_token=self.model.token_text(self._special("eos")),
                bos_token=self.model.token_text(self._special("bos")),
                add_generation_prompt=more.pop("add_generation_prompt"),
            )
            text: str = formatter(messages=list(messages), **more).prompt
        except Exception as error:  # a template is a program, and may raise anything
            raise BackendError(f"the chat template refuses these messages: {error}") from error
        return self._tokenize(text, special=False)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of the tokens, special tokens left out and spaces as they are.

        Raises:
            BackendError: One of them is no token.
        """
        # llama.cpp ends the process over a number that is no token.
        wrong = next((token for token in tokens if not 0 <= token < self.model.vocabulary), None)
        if wrong is not None:
            raise BackendError(f"{BACKEND}: {wrong} is no token of {self.model.name}")
        return self._read(ints(tokens), len(tokens), BYTES_A_TOKEN * len(tokens)).decode("utf-8", "replace")

    def tokens(self) -> list[str]:
        """Return every token as the file spells it."""
        return [self.model.token_text(token) for token in range(self.model.vocabulary)]

    @cached_property
    def chat_template(self) -> str | None:
        """The chat template of the file, if it has one."""
        template: bytes | None = self.model.api.llama_model_chat_template(self.model.address, None)
        return None if not template else template.decode("utf-8", "replace")

    @property
    def chats(self) -> bool:
        """True if the file has a chat template."""
        return self.chat_template is not None

    def _special(self, name: str) -> int | None:
        """Return the token that begins (`bos`) or ends (`eos`) a sequence, if the file names one.

        llama.cpp itself has defaults, which mean something else in most vocabularies.
        """
        token = self.model.metadata(f"tokenizer.ggml.{name}_token_id")
        return None if token is None else int(token)

    def _tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return the tokens of a text; names of special tokens in it stand for these.

        Args:
            text: The text.
            special: Whether the tokens that begin and end a prompt are added.
        """
        data, room = text.encode(), len(text) + 8
        while True:
            tokens = (ctypes.c_int32 * room)()
            count = int(
                self.model.api.llama_tokenize(self.model.vocab, data, len(data), tokens, room, special, True)
            )
            if count >= 0:
                return list(tokens[:count])
            room = -count

    def _read(self, tokens: Any, count: int, room: int) -> bytes:
        text = ctypes.create_string_buffer(max(1, room))
        length = int(
            self.model.api.llama_detokenize(self.model.vocab, tokens, count, text, room, False, False)
        )
        return self._read(tokens, count, -length) if length < 0 else text.raw[:length]
