"""The end of a text: end-of-sequence tokens, stop criteria and strings, the length limit.

For stop strings only the end of the output is decoded for each token: enough of it to hold the longest string and a
character that was not complete before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from paceline.core.errors import BackendError
from paceline.core.records import Ended
from paceline.core.streaming import UNFINISHED

if TYPE_CHECKING:
    from paceline.core.protocols import Codec

StopCriterion = Callable[[Sequence[int]], bool]
"""Is shown the output so far after each token, and tells whether the text ends there."""

Stop: TypeAlias = "str | Sequence[str | StopCriterion]"
"""Ends of texts besides their end tokens: strings, and functions that are shown the output after each token."""

UNFINISHED_CHARACTERS = 4
"""Characters at the end of a text that the next token may still change: bytes of one that is not complete."""

MAX_TOKENS_PER_CHARACTER = 8
"""Tokens for a character that is looked back on, at most; only tokens without any text could be more."""


@dataclass(frozen=True, slots=True)
class StopConditions:
    """Decides token by token where the target alone would have stopped."""

    max_new_tokens: int
    eos: frozenset[int]
    stop: tuple[StopCriterion, ...] = ()

    def cut(self, output: list[int], tokens: Sequence[int]) -> tuple[list[int], Ended | None]:
        """Return the part of `tokens` that belongs to the text, and why it was cut there if it was.

        `output` is extended by that part. The token that ends the text belongs to it.
        """
        before = len(output)
        for token in tokens:
            output.append(token)
            if ended := self._ended(output):
                return output[before:], ended
        return output[before:], None

    def _ended(self, output: list[int]) -> Ended | None:
        if output[-1] in self.eos:
            return "eos"
        if any(criterion(output) for criterion in self.stop):
            return "stop"
        if len(output) >= self.max_new_tokens:
            return "length"
        return None


def stop_strings(stop: Stop) -> tuple[str, ...]:
    """Return the strings in `stop`.

    Raises:
        ValueError: One of them is empty, or holds the mark of an unfinished character; no text ends there.
    """
    strings = tuple(item for item in ((stop,) if isinstance(stop, str) else stop) if isinstance(item, str))
    for string in strings:
        if not string or UNFINISHED in string:
            raise ValueError(f"a stop string must be text, not empty and without U+FFFD; found {string!r}")
    return strings


def stop_criteria(stop: Stop, codec: Codec | None) -> tuple[StopCriterion, ...]:
    """Return what shows one request where to end; made anew for each, since it remembers the output.

    Raises:
        BackendError: There are strings and no tokenizer to read them with, or a string that ends nothing.
    """
    try:
        strings = stop_strings(stop)
    except ValueError as problem:
        raise BackendError(str(problem)) from None
    others = tuple(item for item in stop if not isinstance(item, str))
    if not strings:
        return others
    if codec is None:
        raise BackendError(
            "this target has no tokenizer, so stop strings cannot be found; stop by a function of tokens"
        )
    return (StopStrings(codec, strings), *others)


class StopStrings:
    """Tells after each token whether the text holds one of some strings; for one request.

    Args:
        codec: The target's tokenizer.
        strings: None of them empty.
    """

    def __init__(self, codec: Codec, strings: Sequence[str]) -> None:
        self._codec = codec
        self._strings = tuple(strings)
        self._need = max(map(len, strings)) + UNFINISHED_CHARACTERS
        self._seen = 0
        self._window: list[int] = []
        self._whole = True  # whether the window still begins where the output does

    def __call__(self, output: Sequence[int]) -> bool:
        """Tell whether the text of `output` holds one of the strings; called after each token of it."""
        for token in output[self._seen :]:
            self._window.append(token)
            text = self._text(self._window, whole=self._whole)
            if any(string in text for string in self._strings):
                return True
            if len(text) >= 2 * self._need or len(self._window) > 2 * MAX_TOKENS_PER_CHARACTER * self._need:
                self._shorten()
        self._seen = len(output)
        return False

    def _text(self, window: Sequence[int], *, whole: bool) -> str:
        """Return what a window holds for certain: without its first token, unless the output begins with that.

        A token that stands first may lose its space, or be the rest of a character.
        """
        text = self._codec.decode(window)
        return text if whole else text[len(self._codec.decode(window[:1])) :]

    def _shorten(self) -> None:
        """Drop the first half of the window, if the rest is long enough to go on with and begins with a character."""
        rest = self._window[len(self._window) // 2 :]
        complete = not self._codec.decode(rest).startswith(UNFINISHED)
        if (complete and len(self._text(rest, whole=False)) >= self._need) or len(
            rest
        ) > MAX_TOKENS_PER_CHARACTER * self._need:
            self._window, self._whole = rest, False
