"""Collects what a draft does place by place, and gives it the shape of `Starts`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paceline.lab.recording.format_starts import runs, spread, tail_places
from paceline.lab.recording.model import Starts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paceline.core.records import Signal, TokenSignals


def dtype_of(signal: Signal) -> type[np.int32 | np.float32]:
    """Return the kind of number that a signal is kept as."""
    return np.int32 if signal == "token" else np.float32


class Places:
    """Outcomes of a draft that depends on the context alone: see `format_starts` for the idea.

    Args:
        n: Tokens of the text.
        longest: Tokens it is asked for.
        signals: Those wanted.
    """

    def __init__(self, n: int, longest: int, signals: Iterable[Signal]) -> None:
        self.n = n
        self.longest = longest
        self.bits = np.zeros(n, dtype=bool)
        self._offered = np.full(n, longest, np.int16)
        self._settled = 0  # starts before this are known to offer what `_offered` says
        self._path = {name: np.zeros(n, dtype_of(name)) for name in sorted(signals)}
        self._tails = {name: np.zeros((n, max(longest - 1, 0)), dtype_of(name)) for name in sorted(signals)}

    def on_path(self, place: int, signals: TokenSignals) -> None:
        """Note the signals of the token at a place that was reached along the text."""
        for name, path in self._path.items():
            path[place] = signals.value(name)

    def after(self, place: int, signals: Sequence[TokenSignals]) -> None:
        """Note the signals of the tokens that follow its own one at a place."""
        for name, tails in self._tails.items():
            row = [token.value(name) for token in signals[: self.longest - 1]]
            tails[place, : len(row)] = row

    def offers(self, start: int, count: int) -> None:
        """Note how many tokens it proposed from a start; if not all asked for, it stops there from before as well."""
        if count < self.longest:
            before = np.arange(self._settled, start + 1)
            self._offered[before] = np.minimum(self._offered[before], start + count - before)
        self._settled = start + 1

    def starts(
        self, *, match_lengths: NDArray[np.int32] | None = None, chance: NDArray[np.float32] | None = None
    ) -> Starts:
        """Return all of it."""
        ends = tail_places(self.bits)
        signals = {
            name: spread(path, self._tails[name][ends], ends, self.longest)
            for name, path in self._path.items()
        }
        return Starts(self._offered, runs(self.bits, self._offered), match_lengths, chance, signals)


class Rows:
    """Outcomes of a draft from every start, one after the other.

    Args:
        n: Tokens of the text.
        longest: Tokens it is asked for.
        signals: Those wanted.
    """

    def __init__(self, n: int, longest: int, signals: Iterable[Signal]) -> None:
        self._offered = np.zeros(n, np.int16)
        self._agreed = np.zeros(n, np.int16)
        self._signals: dict[Signal, NDArray[Any]] = {
            name: np.zeros((n, longest), dtype_of(name)) for name in sorted(signals)
        }

    def take(self, start: int, offered: int, agreed: int, signals: Sequence[TokenSignals]) -> None:
        """Note what it did from one start."""
        self._offered[start], self._agreed[start] = offered, agreed
        for name, rows in self._signals.items():
            rows[start, : len(signals)] = [token.value(name) for token in signals]

    def starts(self, *, match_lengths: NDArray[np.int32] | None = None) -> Starts:
        """Return all of it."""
        return Starts(self._offered, self._agreed, match_lengths, None, self._signals)
