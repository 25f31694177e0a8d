"""Buffers of one request on one model: a cache, numbers, and the programs over them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from threading import Lock
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import torch

from paceline.backends.graph.cuda.engine import next_up, spans
from paceline.backends.graph.cuda.forward import forward
from paceline.backends.graph.cuda.runner import HostToDeviceBuffer
from paceline.backends.graph.cuda.sampling import (
    SETTINGS,
    SamplingParams,
    sampling_kind,
    sampling_numbers,
)
from paceline.backends.torch.sampling import DeviceRng

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from paceline.backends.graph.cuda.engine import BlockEngine
    from paceline.backends.graph.cuda.runner import Runner
    from paceline.backends.graph.cuda.sampling import Kind
    from paceline.core.sampling import Sampling


READ: Final = 16
"""Tokens that the program which reads context takes at once; it is for drafts that were idle for some rounds."""

CHUNK: Final = 256
"""Tokens of a prompt read at once, without a program; bounds the memory that a long one needs."""


class RequestBuffers(ABC):
    """Buffers of one request on a model; a session has them to itself.

    Args:
        engine: The model.

    Attributes:
        cache: Keys and values of the request.
        rng: What it draws from.
    """

    def __init__(self, engine: BlockEngine) -> None:
        self.engine = engine
        weights = engine.network.weights
        self.cache = engine.blocks()
        self.spans = spans(self.cache.room, engine.block)
        self.rng = DeviceRng(weights.device)
        self.params = SamplingParams("greedy", self.numbers(SETTINGS))
        self._params_upload = HostToDeviceBuffer(engine.runner, self.params.numbers)
        self._page = self.numbers(2 + READ)
        self._page_upload = HostToDeviceBuffer(engine.runner, self._page)
        self._programs: dict[Hashable, Callable[[], None]] = {}

    def numbers(self, *size: int) -> torch.Tensor:
        """Return a buffer of float64 zeros on the device: exact for tokens, positions and signals alike."""
        return torch.zeros(size, dtype=torch.float64, device=self.engine.network.weights.device)

    def probabilities(self, vocabulary: int) -> torch.Tensor:
        """Return a buffer for the distributions of the longest proposal, in their number format."""
        like = self.engine.network.weights.embedding
        wide = torch.float64 if like.dtype == torch.float64 else torch.float32
        return torch.zeros(self.engine.largest, vocabulary, dtype=wide, device=like.device)

    def set_sampling(self, sampling: Sampling) -> None:
        """Choose tokens like this from now on, and draw from the seed."""
        self.prepare(sampling_kind(sampling))
        self._params_upload.send(sampling_numbers(sampling, self.engine.vocabulary))
        self.rng.seed(sampling.seed)

    def prepare(self, kind: Kind) -> None:
        """Be ready for programs of this kind."""
        self.params = SamplingParams(kind, self.params.numbers)

    @property
    def draws(self) -> bool:
        """True if programs of the kind at hand draw."""
        return self.params.kind != "greedy"

    def span(self, needed: int) -> int:
        """Return the span to look at where `needed` positions are in use."""
        return next_up(self.spans, needed)

    def program(
        self, key: Hashable, make: Callable[[], Callable[[], None]], changes: Sequence[torch.Tensor]
    ) -> Callable[[], None]:
        """Return a program, built when it is first asked for."""
        program = self._programs.get(key)
        if program is None:
            generator = self.rng.generator if self.draws else None
            program = self.engine.runner.build(make(), changes=changes, generator=generator)
            self._programs[key] = program
        return program

    def read(self, start: int, tokens: Sequence[int]) -> None:
        """Put keys and values of context into the cache, from position `start` on."""
        if len(tokens) > READ:
            self.engine.pass_through(self.cache, tokens, start)
            return
        run = self.reader(self.span(start + len(tokens)))
        self._page_upload.send([start, len(tokens), *tokens, *[0] * (READ - len(tokens))])
        run()

    @abstractmethod
    def warm(self) -> None:
        """Build every program that a request of the kind at hand may need."""

    def reader(self, span: int) -> Callable[[], None]:
        """Return the program that reads up to `READ` tokens."""
        return self.program(("read", span), lambda: lambda: self._read(span), ())

    def logits(self, start: int, tokens: Sequence[int], rows: int) -> torch.Tensor:
        """Put tokens into the cache without a program; return the logits after the last `rows`: (rows, vocabulary)."""
        return self.engine.network.head(self.engine.pass_through(self.cache, tokens, start)[-rows:])

    def _read(self, span: int) -> None:
        start, count, tokens = self._page[:1].long(), self._page[1:2].long(), self._page[2:].long()
        steps = torch.arange(READ, device=tokens.device)
        positions = (start + steps).masked_fill(steps >= count, self.cache.scratch)
        forward(self.engine.network, self.cache, tokens, positions, span)


Buffers = TypeVar("Buffers", bound=RequestBuffers)


class BufferPool(Generic[Buffers]):
    """Buffers of a model in one role: taken by sessions, given back when they close, kept with their programs."""

    def __init__(self, make: Callable[[], Buffers], runner: Runner) -> None:
        self._make = make
        self._runner = runner
        self._free: list[Buffers] = []
        self._lock = Lock()

    def take(self) -> Buffers:
        """Return buffers that nobody else has."""
        with self._lock:
            if self._free:
                return self._free.pop()
        with self._runner.work():
            return self._make()

    def warm(self, kinds: Sequence[Kind]) -> None:
        """Build all programs over one set of buffers, so that the next session finds them."""
        buffers = self.take()
        try:
            for kind in kinds:
                with self._runner.work():
                    buffers.prepare(kind)
                    buffers.warm()
        finally:
            self.give(buffers)

    def give(self, buffers: Buffers) -> None:
        """Take buffers back; whoever had them must not use them again."""
        with self._lock:
            self._free.append(buffers)
