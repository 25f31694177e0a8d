"""Text on stdout while it is being written, and one live line below it on stderr.

Where both are the same terminal the live line stands in the row below the text: it is drawn by going down a row
and back up again, and wiped before more text is written. Nothing is drawn anywhere but on a terminal.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, TextIO

from rich.cells import cell_len, chop_cells

if TYPE_CHECKING:
    from collections.abc import Callable

DRAW_EVERY_S = 0.1
TAB = 8
WIPE_BELOW = "\x1b[J"
WIPE_ROW = "\r\x1b[2K"
DIM, PLAIN = "\x1b[2m", "\x1b[0m"


def columns() -> int:
    """Return the width of the terminal on stderr, or 80."""
    try:
        return os.get_terminal_size(2).columns or 80
    except OSError:
        return 80


def harmless(text: str) -> str:
    """Return text that cannot steer a terminal: control characters other than newline and tab are replaced."""
    return "".join(
        letter
        if letter in "\n\t" or not (ord(letter) < 32 or 127 <= ord(letter) < 160)
        else "\N{REPLACEMENT CHARACTER}"
        for letter in text
    )


class Screen:
    """Writes text and draws the live line.

    Args:
        out, err: Where the text and everything else go.
        live: Whether a live line is wanted; none is drawn where `err` is no terminal.
        width: Asked for the width of the terminal.
        clock: Seconds, to draw not too often.
    """

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        *,
        live: bool = True,
        width: Callable[[], int] = columns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out, self._err = out, err
        self._terminal = out.isatty()
        self._live = live and err.isatty() and os.environ.get("TERM") != "dumb"
        self._width, self._clock = width, clock
        self._column = 0
        self._drawn = False
        self._next_draw = 0.0

    def text(self, piece: str, colour: str = "") -> None:
        """Write a piece of the text at once; `colour` is the sequence that begins one, for a terminal."""
        if not piece:
            return
        self.wipe()
        if self._terminal:
            piece = harmless(piece)
            self._move(piece)
            if colour:
                piece = f"{colour}{piece}{PLAIN}"
        self._out.write(piece)
        self._out.flush()

    def line(self, line: str) -> None:
        """Show `line` as the live line, unless one was drawn a moment ago."""
        now = self._clock()
        if self._live and now >= self._next_draw:
            self._next_draw = now + DRAW_EVERY_S
            self._draw(line)

    def wipe(self) -> None:
        """Take the live line away."""
        if self._drawn:
            self._err.write(WIPE_BELOW if self._terminal else WIPE_ROW)
            self._err.flush()
            self._drawn = False

    def close(self) -> None:
        """Take the live line away and end the last row of the text, on a terminal."""
        self.wipe()
        if self._terminal and self._column:
            self._out.write("\n")
            self._out.flush()
            self._column = 0

    def note(self, message: str, *, colour: str = "") -> None:
        """Write a message for people to stderr; `colour` as in `text`."""
        self.wipe()
        self._err.write(f"{colour}{message}{PLAIN}\n" if colour and self._err.isatty() else f"{message}\n")
        self._err.flush()

    def _draw(self, line: str) -> None:
        width = max(2, self._width())
        shown = f"{DIM}{chop_cells(line, width - 1)[0] if line else ''}{PLAIN}"
        if not self._terminal:
            self._err.write(WIPE_ROW + shown)
        elif self._column < width:
            back = f"\x1b[{self._column}C" if self._column else ""
            self._err.write(f"\n{WIPE_ROW}{shown}\x1b[1A\r{back}")
        else:
            # The cursor waits behind the last column: no way back to there but by writing the text anew.
            return
        self._err.flush()
        self._drawn = True

    def _move(self, piece: str) -> None:
        """Follow the cursor's column; a full row keeps it behind the last column until the next letter."""
        width = max(2, self._width())
        for letter in piece:
            if letter == "\n":
                self._column = 0
            elif letter == "\t":
                self._column = min(width - 1, (self._column // TAB + 1) * TAB)
            else:
                cells = cell_len(letter)
                self._column = cells if self._column + cells > width else self._column + cells
