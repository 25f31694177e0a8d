"""Text from tokens as they arrive, never split inside a character."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.core.errors import PacelineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paceline.core.protocols import Codec
    from paceline.core.records import Round

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""The mark that decoding leaves where bytes of a character are missing."""

MOST_UNFINISHED = 4
"""Tokens at the end that may belong to a character that is not complete: one a byte, or fewer."""


class TextStream:
    """Decodes a growing list of tokens piece by piece.

    The pieces, joined, are what decoding all tokens at once gives. Tokens whose last character may not be complete are
    held back until it is, or until `finish`.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._shown: list[int] = []
        self._held: list[int] = []

    def push(self, tokens: Sequence[int]) -> str:
        """Take in tokens and return the text that is certain now, perhaps none."""
        self._held.extend(tokens)
        # A round may end inside a character, and then what comes before that is shown.
        for count in range(len(self._held), max(len(self._held) - MOST_UNFINISHED, 0), -1):
            piece = self._piece(count)
            # What has no text yet gives no context either: a space could be lost behind it.
            if piece and not piece.endswith(UNFINISHED):
                return self._release(piece, count)
        return ""

    def finish(self) -> str:
        """Return what was held back."""
        return self._release(self._piece(len(self._held)), len(self._held))

    def _piece(self, count: int) -> str:
        # The last tokens shown are decoded again for context: some tokenizers drop a leading space.
        known = self._codec.decode(self._shown)
        return self._codec.decode([*self._shown, *self._held[:count]])[len(known) :]

    def _release(self, piece: str, count: int) -> str:
        if count:
            self._shown, self._held = self._held[:count], self._held[count:]
        return piece


def stream_text(rounds: Iterator[Round], text: TextStream) -> Iterator[str]:
    """Yield the text of rounds as it becomes certain; what was delivered before an error comes before the error."""
    problem = None
    try:
        for done in rounds:
            if piece := text.push(done.tokens):
                yield piece
    except PacelineError as error:
        problem = error
    if piece := text.finish():
        yield piece
    if problem is not None:
        raise problem
