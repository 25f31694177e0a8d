"""Buffers of one request on one model: a cache, numbers, and the programs over them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from threading import Lock
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import torch

from paceline.backends.graph.cuda.engine import next_up, spans
from paceline.backends.graph.cuda.forward import forward
from paceline.backends.graph.cuda.runner import Post
from paceline.backends.graph.cuda.sampling import SETTINGS, Chance, Taste, kind_of, numbers_of

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


class Slot(ABC):
    """One seat on a model; a session has it to itself.

    Args:
        engine: The model.

    Attributes:
        cache: Keys and values of the request.
        chance: What it draws from.
    """

    def __init__(self, engine: BlockEngine) -> None:
        self.engine = engine
        weights = engine.network.weights
        self.cache = engine.blocks()
        self.spans = spans(self.cache.room, engine.block)
        self.chance = Chance(weights.device)
        self.taste = Taste("greedy", self.numbers(SETTINGS))
        self._taste_post = Post(engine.runner, self.taste.numbers)
        self._page = self.numbers(2 + READ)
        self._page_post = Post(engine.runner, self._page)
        self._programs: dict[Hashable, Callable[[], None]] = {}

    def numbers(self, *size: int) -> torch.Tensor:
        """Return a buffer of float64 zeros on the device: exact for tokens, positions and signals alike."""
        return torch.zeros(size, dtype=torch.float64, device=self.engine.network.weights.device)

    def probabilities(self, vocabulary: int) -> torch.Tensor:
        """Return a buffer for the distributions of the longest proposal, in their number format."""
        like = self.engine.network.weights.embedding
        wide = torch.float64 if like.dtype == torch.float64 else torch.float32
        return torch.zeros(self.engine.largest, vocabulary, dtype=wide, device=like.device)

    def season(self, sampling: Sampling) -> None:
        """Choose tokens like this from now on, and draw from the seed."""
        self.prepare(kind_of(sampling))
        self._taste_post.send(numbers_of(sampling, self.engine.vocabulary))
        self.chance.seed(sampling.seed)

    def prepare(self, kind: Kind) -> None:
        """Be ready for programs of this kind."""
        self.taste = Taste(kind, self.taste.numbers)

    @property
    def draws(self) -> bool:
        """Whether programs of the kind at hand draw."""
        return self.taste.kind != "greedy"

    def span(self, needed: int) -> int:
        """Return the span to look at where `needed` positions are in use."""
        return next_up(self.spans, needed)

    def program(
        self, key: Hashable, make: Callable[[], Callable[[], None]], changes: Sequence[torch.Tensor]
    ) -> Callable[[], None]:
        """Return a program, built when it is first asked for."""
        found = self._programs.get(key)
        if found is None:
            generator = self.chance.generator if self.draws else None
            found = self.engine.runner.build(make(), changes=changes, generator=generator)
            self._programs[key] = found
        return found

    def read(self, start: int, tokens: Sequence[int]) -> None:
        """Put keys and values of context into the cache, from position `start` on."""
        if len(tokens) > READ:
            self.engine.pass_through(self.cache, tokens, start)
            return
        run = self.reader(self.span(start + len(tokens)))
        self._page_post.send([start, len(tokens), *tokens, *[0] * (READ - len(tokens))])
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


Seat = TypeVar("Seat", bound=Slot)


class Slots(Generic[Seat]):
    """The seats of a model in one role: taken by sessions, given back when they close, and kept with their programs."""

    def __init__(self, make: Callable[[], Seat], runner: Runner) -> None:
        self._make = make
        self._runner = runner
        self._free: list[Seat] = []
        self._lock = Lock()

    def take(self) -> Seat:
        """Return a seat that nobody else has."""
        with self._lock:
            if self._free:
                return self._free.pop()
        with self._runner.work():
            return self._make()

    def warm(self, kinds: Sequence[Kind]) -> None:
        """Build all programs of one seat, so that the next session finds them."""
        seat = self.take()
        try:
            for kind in kinds:
                with self._runner.work():
                    seat.prepare(kind)
                    seat.warm()
        finally:
            self.give(seat)

    def give(self, seat: Seat) -> None:
        """Take a seat back; whoever had it must not use it again."""
        with self._lock:
            self._free.append(seat)
