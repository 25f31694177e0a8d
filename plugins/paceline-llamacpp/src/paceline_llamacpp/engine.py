"""A model at work: contexts of llama.cpp, their sequences, and passes over them."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from paceline import BackendError
from paceline_llamacpp.library import BACKEND, library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from paceline import KeptPrefixes
    from paceline_llamacpp.config import CacheType
    from paceline_llamacpp.model import GgufModel

CHUNK: Final = 512
"""The most tokens of one pass; llama.cpp's own default."""

PADDING: Final = 256
"""llama.cpp rounds the room of a sequence up to a multiple of this."""

CACHE_TYPES: Final[Mapping[CacheType, int]] = {
    "f32": 0, "f16": 1, "bf16": 30, "q8_0": 8, "q5_1": 7, "q5_0": 6, "q4_1": 3, "q4_0": 2,
}  # fmt: skip
"""Number formats of a cache, as ggml.h numbers them (`ggml_type`)."""

CACHE_BYTES: Final[Mapping[CacheType, float]] = {
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32,
    "q4_0": 18 / 32,
}  # fmt: skip
"""Bytes of one number: short formats store blocks of 32 with their scales."""

FLASH_ATTENTION: Final = {None: -1, False: 0, True: 1}
"""llama.h, `llama_flash_attn_type`."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The form in which a model is run; see the options of the backend's block."""

    threads: int
    context: int
    parallel: int
    cache_type: CacheType
    flash_attention: bool | None
    gpu_layers: int
    block_multiple: int

    @property
    def room(self) -> int:
        """Tokens that llama.cpp has room for in each sequence: the context, and what fills up its last block."""
        return -(-(self.context + self.block_multiple - 1) // PADDING) * PADDING


class Engine:
    """Runs a model over several sequences, each with room for a context of its own.

    Between passes a sequence is known by its number and length alone; sessions keep the tokens. Not for several threads
    at a time.

    Args:
        model: The model.
        options: The form in which it is run.

    Raises:
        BackendError: llama.cpp cannot make such a context, or the model's memory cannot go back.
    """

    def __init__(self, model: GgufModel, options: EngineOptions) -> None:
        self.model = model
        self.options = options
        self.vocabulary = model.vocabulary
        self.max_context = options.context
        self._api = library().api
        self._contexts: list[_Context] = []
        weakref.finalize(self, _free, self._api, self._contexts, model)
        self._unused: list[int] = []
        self._batch, self._arrays = _batch(self._api)
        self._grow()
        self._require_rollback()

    @property
    def backend(self) -> str:
        """The name of the backend in run files."""
        return BACKEND

    @property
    def longest(self) -> int:
        """The most tokens of one block; filled up, they still fit in one pass."""
        return CHUNK - CHUNK % self.options.block_multiple

    @property
    def name(self) -> str:
        """The name of the model's file."""
        return self.model.name

    @property
    def identity(self) -> str:
        """Model, number formats, threads and device, and the version of the library."""
        model, options = self.model, self.options
        blocks = f", blocks of {options.block_multiple}" if options.block_multiple > 1 else ""
        device = f"{options.gpu_layers} layers on a GPU" if options.gpu_layers else "cpu"
        flash = {None: "auto", False: "off", True: "on"}[options.flash_attention]
        return (
            f"llama-cpp {library().version}, {model.name} {model.fingerprint}, {model.description}, cache "
            f"{options.cache_type}, flash attention {flash}, {options.threads} threads, {device}{blocks}"
        )

    def take(self, prefixes: KeptPrefixes[int] | None = None) -> int:
        """Return an empty sequence; where all are in use, of a further context.

        Args:
            prefixes: Sequences that are kept for later; the oldest is let go where there is no room for a context.

        Raises:
            BackendError: All are in use, and there is no room.
        """
        if not self._unused:
            try:
                self._grow()
            except BackendError:
                if prefixes is None or not prefixes.drop():
                    raise
        return self._unused.pop()

    def free(self, sequence: int) -> None:
        """Empty a sequence and take it back."""
        self.go_back(sequence, 0)
        self._unused.append(sequence)

    def go_back(self, sequence: int, length: int) -> bool:
        """Let a sequence forget all tokens but the first `length`; False if its memory cannot."""
        context, number = self._place(sequence)
        return bool(self._api.llama_memory_seq_rm(context.memory, number, length, -1))

    def length(self, sequence: int) -> int:
        """Return how many tokens a sequence holds."""
        context, number = self._place(sequence)
        return int(self._api.llama_memory_seq_pos_max(context.memory, number)) + 1

    def crop(self, sequence: int, length: int) -> None:
        """Let a sequence forget all tokens but the first `length`.

        Raises:
            BackendError: Its memory cannot go back so far.
        """
        if not self.go_back(sequence, length):
            raise BackendError(
                f"{BACKEND}: the memory of {self.name} cannot go back behind rejected tokens; use a model with full "
                "attention in all layers"
            )

    def feed(self, sequence: int, start: int, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        """Append tokens to a sequence; return the logits after the last `rows` of them: (rows, vocabulary).

        What is returned is llama.cpp's own memory, which the next pass overwrites.

        Args:
            sequence: Number of the sequence.
            start: Its length, where the first token goes.
            tokens: At most `CHUNK` of them.
            rows: How many of the last tokens the logits are wanted after, at least one.

        Raises:
            BackendError: The pass failed. The sequence then holds what it held before, or its length tells otherwise.
        """
        count, arrays = len(tokens), self._arrays
        assert 1 <= rows <= count <= CHUNK
        arrays.tokens[:count] = tokens
        arrays.positions[:count] = np.arange(start, start + count, dtype=np.int32)
        arrays.outputs[:count] = 0
        arrays.outputs[count - rows : count] = 1
        context, arrays.sequence.value = self._place(sequence)
        self._batch.n_tokens = count
        code = int(self._api.llama_decode(context.address, self._batch))
        if code:
            self._fail(code)
        first = self._api.llama_get_logits_ith(context.address, count - rows)
        return np.ctypeslib.as_array(first, shape=(rows, self.vocabulary))

    def _fail(self, code: int) -> None:
        why = library().complaints()
        if code == 1:
            raise BackendError(
                f"{BACKEND}: there is no room left in the context of {self.name} ({self.max_context} tokens); set "
                "`context` higher, or shorten the text"
            )
        raise BackendError(
            f"{BACKEND}: a pass of {self.name} failed with code {code}: {why or 'no reason given'}"
        )

    def _place(self, sequence: int) -> tuple[_Context, int]:
        """Return the context that a sequence is in, and its number there."""
        return self._contexts[sequence // self.options.parallel], sequence % self.options.parallel

    def _grow(self) -> None:
        """Make room for as many sequences as fit in one context."""
        context, parallel = self._new_context(), self.options.parallel
        first = parallel * len(self._contexts)
        self._contexts.append(_Context(context, self._api.llama_get_memory(context)))
        self._unused += reversed(range(first, first + parallel))

    def _new_context(self) -> int:
        options, api = self.options, self._api
        params = api.llama_context_default_params()
        params.n_ctx = options.room * options.parallel
        params.n_seq_max = options.parallel
        params.n_batch = params.n_ubatch = CHUNK
        params.n_threads = params.n_threads_batch = options.threads
        params.flash_attn_type = FLASH_ATTENTION[options.flash_attention]
        params.type_k = params.type_v = CACHE_TYPES[options.cache_type]
        params.kv_unified = False  # a request's numbers may not depend on what others write
        params.swa_full = True  # layers with a sliding window keep what is needed to go back
        params.no_perf = True
        library().complaints()
        context = api.llama_init_from_model(self.model.address, params)
        if not context:
            raise BackendError(
                f"{BACKEND}: no context of {options.context} tokens x {options.parallel} with a cache of "
                f"{options.cache_type} can be made for {self.name}: {library().complaints() or 'no reason given'}. Set "
                "`context` or `parallel` lower, or another `cache_type`"
            )
        return int(context)

    def _require_rollback(self) -> None:
        """Go back once, so that a memory that cannot is refused before the first token."""
        if not self._contexts[0].memory:
            raise BackendError(f"{BACKEND}: {self.name} keeps no memory of a text, so it cannot decode one")
        sequence = self.take()
        try:
            self.feed(sequence, 0, [0, 0], 1)
            self.crop(sequence, 1)
            if self.length(sequence) != 1:
                raise BackendError(
                    f"{BACKEND}: the memory of {self.name} does not go back behind rejected tokens"
                )
        finally:
            self.free(sequence)


@dataclass(frozen=True, slots=True)
class _Context:
    """A context of llama.cpp.

    Attributes:
        address, memory: Its own address, and that of the memory of its sequences.
    """

    address: int
    memory: int


def _free(api: Any, contexts: list[_Context], model: GgufModel) -> None:
    """Free all contexts; their model, held until now, comes after them."""
    del model
    for context in contexts:
        api.llama_free(context.address)


@dataclass(frozen=True, slots=True)
class _Arrays:
    """Memory that a batch points to, and llama.cpp reads in place."""

    tokens: NDArray[np.int32]
    positions: NDArray[np.int32]
    outputs: NDArray[np.int8]
    counts: NDArray[np.int32]
    sequence: ctypes.c_int32
    sequences: Any


def _batch(api: Any) -> tuple[Any, _Arrays]:
    """Return a batch for tokens of one sequence, and the arrays to write them into."""
    sequence = ctypes.c_int32(0)
    pointer = ctypes.POINTER(ctypes.c_int32)
    arrays = _Arrays(
        tokens=np.zeros(CHUNK, np.int32),
        positions=np.zeros(CHUNK, np.int32),
        outputs=np.zeros(CHUNK, np.int8),
        counts=np.ones(CHUNK, np.int32),
        sequence=sequence,
        sequences=(pointer * CHUNK)(*[ctypes.pointer(sequence)] * CHUNK),
    )
    batch = api.llama_batch()
    batch.token = arrays.tokens.ctypes.data_as(pointer)
    batch.pos = arrays.positions.ctypes.data_as(pointer)
    batch.n_seq_id = arrays.counts.ctypes.data_as(pointer)
    batch.seq_id = ctypes.cast(arrays.sequences, ctypes.POINTER(pointer))
    batch.logits = arrays.outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
    return batch, arrays
