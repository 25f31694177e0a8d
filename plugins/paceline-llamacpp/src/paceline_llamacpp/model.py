"""A GGUF file that llama.cpp has opened: what it says of itself, and its vocabulary."""

from __future__ import annotations

import hashlib
import weakref
from functools import cached_property
from typing import TYPE_CHECKING, Final

from paceline import BackendError
from paceline_llamacpp.library import BACKEND, library, text_of

if TYPE_CHECKING:
    from pathlib import Path

MAGIC: Final = b"GGUF"
"""The first bytes of every GGUF file."""

SAMPLE: Final = 2**20
"""Bytes from either end of a file that stand for it: all of the header, and weights."""

NO_VOCABULARY: Final = 0
"""llama.h, `LLAMA_VOCAB_TYPE_NONE`: the file has tokens without text."""


def check_format(path: Path) -> None:
    """Refuse a file that is no GGUF file, before llama.cpp sees it.

    Raises:
        BackendError: It is not there, cannot be read, or is of another format.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
    except OSError as problem:
        raise BackendError(f"{BACKEND}: {path} cannot be read: {problem.strerror}") from problem
    if start != MAGIC:
        raise BackendError(
            f"{BACKEND}: {path} is no GGUF file: it begins with {start!r}, not with {MAGIC!r}. Convert the model with "
            "convert_hf_to_gguf.py of llama.cpp, or use `backend: graph` for a folder of transformers"
        )


class GgufModel:
    """A model that llama.cpp has opened.

    Args:
        path: Its file.
        gpu_layers: Layers to put on a GPU.
        vocabulary_only: Whether metadata and vocabulary are all that is read.

    Raises:
        BackendError: The file cannot be opened, or holds a model that decodes no text or cannot go back.
    """

    def __init__(self, path: Path, *, gpu_layers: int = 0, vocabulary_only: bool = False) -> None:
        check_format(path)
        self.path = path
        self.api = library().api
        self.address = library().load(path, gpu_layers=gpu_layers, vocabulary_only=vocabulary_only)
        weakref.finalize(self, self.api.llama_model_free, self.address)
        self.vocab = self.api.llama_model_get_vocab(self.address)
        self.vocabulary = int(self.api.llama_vocab_n_tokens(self.vocab))
        # The function for it knows nothing where the vocabulary is all that was read.
        self.trained_context = self.number("context_length") or int(
            self.api.llama_model_n_ctx_train(self.address)
        )
        if (refused := self._refusal()) is not None:
            raise BackendError(f"{BACKEND}: {self.name} {refused}")

    @property
    def name(self) -> str:
        """The name of its file."""
        return self.path.name

    @cached_property
    def description(self) -> str:
        """Its architecture, size and number format, as llama.cpp says it."""
        return text_of(self.api.llama_model_desc, self.address) or "unknown"

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the file's size and of both its ends, the same for every copy of it."""
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            digest = hashlib.blake2b(file.read(SAMPLE), digest_size=8)
            file.seek(max(0, size - SAMPLE))
            digest.update(file.read(SAMPLE))
        digest.update(str(size).encode())
        return digest.hexdigest()

    @cached_property
    def has_text(self) -> bool:
        """True if its tokens stand for text."""
        return int(self.api.llama_vocab_type(self.vocab)) != NO_VOCABULARY

    @cached_property
    def eos(self) -> frozenset[int]:
        """The tokens that end a text or a turn."""
        ends = self.api.llama_vocab_is_eog
        return frozenset(token for token in range(self.vocabulary) if ends(self.vocab, token))

    def metadata(self, key: str) -> str | None:
        """Return a value of the file's metadata as text."""
        name = key.encode()
        return text_of(lambda *buffer: self.api.llama_model_meta_val_str(self.address, name, *buffer))

    def number(self, key: str) -> int | None:
        """Return a value of the architecture's own metadata, such as `block_count`, if it is one whole number."""
        value = self.metadata(f"{self.metadata('general.architecture')}.{key}")
        return int(value) if value is not None and value.isdigit() else None

    def token_text(self, token: int | None) -> str:
        """Return a token as the file spells it; nothing for one that is not there."""
        if token is None or not 0 <= token < self.vocabulary or not self.has_text:
            return ""
        spelt: bytes = self.api.llama_vocab_get_text(self.vocab, token)
        return spelt.decode("utf-8", "replace")

    def _refusal(self) -> str | None:
        api, address = self.api, self.address
        if api.llama_model_has_encoder(address):
            return "has an encoder, and paceline decodes texts alone; use a model that only decodes"
        if not api.llama_model_has_decoder(address):
            return "is no model that decodes texts"
        if api.llama_model_is_diffusion(address):
            return "writes all tokens of a text at once (diffusion), so nothing can be drafted for it"
        for kind in ("recurrent", "hybrid"):
            if getattr(api, f"llama_model_is_{kind}")(address):
                return (
                    f"has {'recurrent layers' if kind == 'recurrent' else 'attention and recurrent layers (hybrid)'}, "
                    "whose memory cannot go back behind rejected tokens; use a model with attention alone"
                )
        return None
