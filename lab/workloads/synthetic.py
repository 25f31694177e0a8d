"""The twelve made-up cells of `paceline.lab.synthetic` as recordings: no model, every text from its seed.

There is one draft, called `draft`, without a cache to catch up and without signals. A plain step takes one second. The
texts are made when they are read, so that their number does not matter.
"""

from __future__ import annotations

import hashlib
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from paceline.core.errors import ConfigError, TraceError
from paceline.lab.bench.loops import texture
from paceline.lab.recording.model import DraftInfo, Header, Recording, Starts, Text, TextSource
from paceline.lab.recording.sheet import CostSheet, DraftTimes
from paceline.lab.synthetic import CELLS, Cell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DRAFT, ALL = "draft", "all"
TEXTS, TOKENS, LONGEST = 24, 600, 10
"""As in the table of the cells: a drift takes 600 tokens to come round, and ten tokens is more than pays at 0.8."""

PROMPT, VOCABULARY = 8, 1000


def slug(cell: Cell) -> str:
    """Return the name of a cell on a command line and in a path, such as `regimes-0.12`."""
    return f"{cell.acceptance}-{cell.price:g}"


def cells(name: str) -> list[Cell]:
    """Return the cell of a name, or all of them.

    Raises:
        ConfigError: There is none of that name.
    """
    found = [cell for cell in CELLS if name in {slug(cell), ALL}]
    if not found:
        raise ConfigError(f"no made-up cell {name!r}; there are: {', '.join(map(slug, CELLS))}, or {ALL}")
    return found


def made_up(cell: Cell, *, texts: int = TEXTS, tokens: int = TOKENS, longest: int = LONGEST) -> Recording:
    """Return the recording of a cell.

    Args:
        cell: Price of drafting and acceptance.
        texts: How many texts.
        tokens: The length of each.
        longest: The largest gamma that can be tried.
    """
    sheet = CostSheet(
        verify={length: cell.verify_s(length, 0) for length in (1, 2)},
        context=0,
        context_s=0.0,
        drafts={DRAFT: DraftTimes({1: cell.price}, {})},
        overhead_s=0.0,
    )
    info = DraftInfo(caches=False, short=0, signals=frozenset(), hints=False, scores=True)
    run = {"cell": cell.name, "price": cell.price, "acceptance": cell.acceptance}
    header = Header(run, longest, "greedy", {DRAFT: info}, sheet, made_up=True)
    return Recording(header, (), MadeTexts(cell, texts, tokens, longest))


class MadeTexts(TextSource):
    """The texts of a cell, by number."""

    def __init__(self, cell: Cell, texts: int, tokens: int, longest: int) -> None:
        self._cell, self._tokens, self._longest = cell, tokens, longest
        self._numbers = {f"{cell.acceptance}/{number}": number for number in range(texts)}

    def __iter__(self) -> Iterator[Text]:
        """Make the texts from the first to the last."""
        return map(self._text, self._numbers)

    def __getitem__(self, name: str) -> Text:
        """Make one text.

        Raises:
            TraceError: There is none of that name.
        """
        if name not in self._numbers:
            raise TraceError(f"the recording has no text {name!r}; it has {len(self._numbers)} others")
        return self._text(name)

    def names(self) -> Sequence[str]:
        """Return the names in order."""
        return tuple(self._numbers)

    def _text(self, name: str) -> Text:
        cell, number = self._cell, self._numbers[name]
        bits = cell.text(self._tokens, number)
        random = Random(f"tokens/{number}")
        tokens = tuple(random.randrange(VOCABULARY) for _ in bits)
        return Text(
            name=name,
            kind=cell.acceptance,
            prompt_sha256=hashlib.sha256(name.encode()).hexdigest(),
            prompt_tokens=PROMPT,
            prompt=None,
            wanted=len(tokens),
            tokens=tokens,
            ended="length",
            varies=texture(tokens).varies,
            perplexity=None,
            drafts={DRAFT: _starts(bits, self._longest)},
        )


def _starts(bits: Sequence[bool], longest: int) -> Starts:
    runs, run = np.zeros(len(bits), np.int16), 0
    for place in range(len(bits) - 1, -1, -1):
        run = run + 1 if bits[place] else 0
        runs[place] = min(run, longest)
    return Starts(np.full(len(bits), longest, np.int16), runs)
