"""Made-up texts as recordings: no model, every text from its seed.

There is one draft, called `draft`, and a plain step takes one second. Only acceptance and cost matter to a policy, so a
text is a sequence of bits: whether the draft, after the target's tokens so far, would propose the target's next token.
In twelve cells the draft has no cache to catch up and no signals. They cross

    price of a draft token, in plain steps:  0.04, 0.12, 0.30
    acceptance of each token:                steady 0.8; steady 0.5; two regimes (0.9 and 0.3) with a mean stay of 100
                                             tokens in each; a drift (a sine from 0.2 to 0.9 over 600 tokens)

and verification of a block takes 1.2 % longer for each token beyond the first. In the kinds of
`paceline.lab.workloads.changing` the draft lags as a model does, costs change from place to place, and signals are
there and tell nothing. In two cells of trees the draft's further choices are known as well: a first choice is right at
0.6 of the places, and of those where it is not the second one at 0.35, and so on (`CHOICES`). Verification is all but
flat up to 33 tokens in `trees-flat`, as on a GPU, and takes 12 % longer for each further token in `trees-steep`, as on
a CPU; a level of the draft takes 0.05 of a plain step. The texts are made when they are read, so that their number does
not matter.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from paceline.core.errors import ConfigError, TraceError
from paceline.core.records import SIGNALS
from paceline.lab.recording.latency import DraftTimes, LatencyProfile
from paceline.lab.recording.model import Changes, DraftInfo, Header, Recording, Starts, Text, TextSource
from paceline.lab.repetition import repetition
from paceline.lab.workloads.changing import KINDS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paceline.core.records import Signal

Acceptances = Callable[[int, Random], Sequence[float]]

PRICES = (0.04, 0.12, 0.30)
VERIFY_SLOPE = 0.012
STAY = 100.0
PERIOD = 600.0


def _steady(prob: float) -> Acceptances:
    def probs(tokens: int, random: Random) -> list[float]:
        del random
        return [prob] * tokens

    return probs


def _regimes(tokens: int, random: Random) -> list[float]:
    probs, now, other = [], 0.9, 0.3
    if random.random() < 0.5:
        now, other = other, now
    for _ in range(tokens):
        probs.append(now)
        if random.random() < 1.0 / STAY:
            now, other = other, now
    return probs


def _drift(tokens: int, random: Random) -> list[float]:
    phase = random.random()
    return [0.55 + 0.35 * math.sin(2.0 * math.pi * (place / PERIOD + phase)) for place in range(tokens)]


ACCEPTANCES: dict[str, Acceptances] = {
    "steady-0.8": _steady(0.8),
    "steady-0.5": _steady(0.5),
    "regimes": _regimes,
    "drift": _drift,
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One price of drafting with one kind of acceptance.

    Attributes:
        price: Seconds of one draft token; a plain step takes 1.
        acceptance: Key of `ACCEPTANCES`.
    """

    price: float
    acceptance: str

    @property
    def name(self) -> str:
        """Its name in tables."""
        return f"{self.acceptance}, price {self.price:g}"

    def verify_s(self, length: int, context: int) -> float:
        """Return the seconds to verify a block of `length` tokens; context costs nothing here."""
        del context
        return 1.0 + VERIFY_SLOPE * (length - 1)

    def text(self, tokens: int, seed: int) -> list[bool]:
        """Return the bits of one text."""
        random = Random(f"{self.name}/{seed}")
        probs = ACCEPTANCES[self.acceptance](tokens, random)
        return [random.random() < prob for prob in probs]


CHOICES = (0.6, 0.35, 0.25, 0.2)
"""Chance of each choice to be right where those before it were wrong."""


@dataclass(frozen=True, slots=True)
class TreeCell:
    """A draft whose further choices are known, over one curve of verification.

    Attributes:
        name: Its name in tables.
        verify: Seconds by block length; straight lines between.
    """

    name: str
    verify: Mapping[int, float]

    def recording(self, texts: int, tokens: int, longest: int) -> Recording:
        """Return its recording."""
        profile = LatencyProfile(
            verify=self.verify,
            context=0,
            context_s=0.0,
            drafts={DRAFT: DraftTimes({1: 0.05}, {})},
            overhead_s=0.0,
        )
        info = DraftInfo(
            caches=False, short=0, signals=frozenset(), match_lengths=False, scores=True, choices=len(CHOICES)
        )
        header = Header({"cell": self.name}, longest, "greedy", {DRAFT: info}, profile, made_up=True)

        def text(name: str, number: int) -> Text:
            random = Random(f"choices/{number}")
            ranks = [
                next((rank for rank, prob in enumerate(CHOICES) if random.random() < prob), -1)
                for _ in range(tokens)
            ]
            bits = [rank == 0 for rank in ranks]
            starts = _starts(bits, longest)
            return _text(name, self.name, bits, replace(starts, ranks=np.array(ranks, np.int8)))

        return Recording(header, (), MadeTexts(self.name, texts, text))


TREE_CELLS = (
    TreeCell("trees-flat", {1: 1.0, 33: 1.03, 65: 2.0}),
    TreeCell("trees-steep", {1: 1.0, 2: 1.12}),
)

CELLS = tuple(Cell(price, acceptance) for price in PRICES for acceptance in ACCEPTANCES)


DRAFT, ALL = "draft", "all"
TEXTS, TOKENS, LONGEST = 24, 600, 10
"""As in the table of the cells: a drift takes 600 tokens to come round, and ten tokens is more than pays at 0.8."""

PROMPT, VOCABULARY = 8, 1000

CATCH_UP = 0.03
"""A lagging token takes this share of a drafted one: it is read in a block with the others."""

SILENT: dict[Signal, float] = {"top1": 0.7, "prob": 0.7, "entropy": 1.0, "margin": 0.5, "token": 0}
"""The same signals everywhere."""


def slug(made: Cell | Kind | TreeCell) -> str:
    """Return the name of a cell or kind on a command line and in a path, such as `regimes-0.12`."""
    return made.name if isinstance(made, Kind | TreeCell) else f"{made.acceptance}-{made.price:g}"


def cells(name: str) -> list[Cell | Kind | TreeCell]:
    """Return the cell or kind of a name, or all of them but those of trees.

    Raises:
        ConfigError: There is none of that name.
    """
    every: list[Cell | Kind | TreeCell] = [*CELLS, *KINDS, *TREE_CELLS]
    chosen = [
        kind for kind in every if name == slug(kind) or (name == ALL and not isinstance(kind, TreeCell))
    ]
    if not chosen:
        raise ConfigError(
            f"nothing made up is called {name!r}; there are: {', '.join(map(slug, every))}, or {ALL}"
        )
    return chosen


def made_up(
    made: Cell | Kind | TreeCell, *, texts: int = TEXTS, tokens: int | None = None, longest: int = LONGEST
) -> Recording:
    """Return the recording of a cell or a kind.

    Args:
        made: Costs and acceptance.
        texts: How many texts.
        tokens: The length of each; `TOKENS` for a cell and as long as the kind says by default.
        longest: The largest gamma that can be tried.
    """
    if isinstance(made, TreeCell):
        return made.recording(texts, tokens or TOKENS, longest)
    if isinstance(made, Kind):
        return _changing(made, texts, tokens or made.length, longest)
    profile = LatencyProfile(
        verify={length: made.verify_s(length, 0) for length in (1, 2)},
        context=0,
        context_s=0.0,
        drafts={DRAFT: DraftTimes({1: made.price}, {})},
        overhead_s=0.0,
    )
    info = DraftInfo(caches=False, short=0, signals=frozenset(), match_lengths=False, scores=True)
    run = {"cell": made.name, "price": made.price, "acceptance": made.acceptance}
    header = Header(run, longest, "greedy", {DRAFT: info}, profile, made_up=True)

    def text(name: str, number: int) -> Text:
        bits = made.text(tokens or TOKENS, number)
        return _text(name, made.acceptance, bits, _starts(bits, longest))

    return Recording(header, (), MadeTexts(made.acceptance, texts, text))


def _changing(kind: Kind, texts: int, tokens: int, longest: int) -> Recording:
    header = changing_header(kind, longest)

    def text(name: str, number: int) -> Text:
        _, met = kind.prices(number, tokens)
        return changing_text(name, kind, kind.bits(number, tokens), met.changes(), longest)

    return Recording(header, (), MadeTexts(kind.name, texts, text))


def changing_header(kind: Kind, longest: int = LONGEST) -> Header:
    """Return what holds for all texts of a kind."""
    profile = LatencyProfile(
        verify={1: 1.0, 2: 1.0 + VERIFY_SLOPE},
        context=0,
        context_s=0.0,
        drafts={DRAFT: DraftTimes({1: kind.price}, {1: CATCH_UP * kind.price})},
        overhead_s=0.0,
    )
    info = DraftInfo(caches=True, short=1, signals=SIGNALS, match_lengths=False, scores=True)
    return Header(
        {"kind": kind.name, "price": kind.price}, longest, "greedy", {DRAFT: info}, profile, made_up=True
    )


def changing_text(
    name: str, kind: Kind, bits: Sequence[bool], changes: Changes, longest: int = LONGEST
) -> Text:
    """Return one text of a kind."""
    shape = len(bits), longest
    signals: dict[Signal, Any] = {
        signal: np.broadcast_to(np.array(value, np.int32 if signal == "token" else np.float32), shape)
        for signal, value in SILENT.items()
    }
    starts = _starts(bits, longest)
    return _text(name, kind.name, bits, Starts(starts.offered, starts.agreed, signals=signals), changes)


class MadeTexts(TextSource):
    """Texts that are made when they are read, by number.

    Args:
        kind: What their names begin with.
        texts: How many.
        text: Makes the text of a name and a number.
    """

    def __init__(self, kind: str, texts: int, text: Callable[[str, int], Text]) -> None:
        self._text = text
        self._numbers = {f"{kind}/{number}": number for number in range(texts)}

    def __iter__(self) -> Iterator[Text]:
        """Make the texts from the first to the last."""
        return (self._text(name, number) for name, number in self._numbers.items())

    def __getitem__(self, name: str) -> Text:
        """Make one text.

        Raises:
            TraceError: There is none of that name.
        """
        if name not in self._numbers:
            raise TraceError(f"the recording has no text {name!r}; it has {len(self._numbers)} others")
        return self._text(name, self._numbers[name])

    def names(self) -> Sequence[str]:
        """Return the names in order."""
        return tuple(self._numbers)


def _text(name: str, kind: str, bits: Sequence[bool], starts: Starts, changes: Changes | None = None) -> Text:
    random = Random(f"tokens/{name.rpartition('/')[2]}")
    tokens = tuple(random.randrange(VOCABULARY) for _ in bits)
    return Text(
        name=name,
        kind=kind,
        prompt_sha256=hashlib.sha256(name.encode()).hexdigest(),
        prompt_tokens=PROMPT,
        prompt=tuple(random.randrange(VOCABULARY) for _ in range(PROMPT)),
        max_new_tokens=len(tokens),
        tokens=tokens,
        ended="length",
        varies=repetition(tokens).varies,
        perplexity=None,
        drafts={DRAFT: starts},
        changes=changes,
    )


def _starts(bits: Sequence[bool], longest: int) -> Starts:
    runs, run = np.zeros(len(bits), np.int16), 0
    for place in range(len(bits) - 1, -1, -1):
        run = run + 1 if bits[place] else 0
        runs[place] = min(run, longest)
    return Starts(np.full(len(bits), longest, np.int16), runs)


def made_up_recording(name: str, *, texts: int = TEXTS, tokens: int | None = None) -> Recording:
    """Return the recording of a cell or a kind of made-up texts by its name, such as `regimes-0.12`.

    Raises:
        ConfigError: There is none of that name.
    """
    return made_up(cells(name)[0], texts=texts, tokens=tokens)
