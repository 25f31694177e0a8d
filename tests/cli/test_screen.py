"""The live line, seen through a small terminal."""

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.cli._screen import Screen, harmless

WIDTH = 12


class Stream(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self._terminal = terminal

    def isatty(self):
        return self._terminal


class Terminal(Stream):
    """Follows what a terminal would show: rows of cells, a cursor, and the wait behind the last column."""

    def __init__(self):
        super().__init__(terminal=True)
        self.rows, self.row, self.column, self.waiting = [[]], 0, 0, False

    def write(self, text):
        for steer, number, verb, letter in re.findall(r"(\x1b\[(\d*)([A-Za-z]))|([^\x1b])", text):
            if steer:
                self._steer(int(number or 0), verb)
            else:
                self._letter(letter)
        return len(text)

    def _steer(self, number, verb):
        if verb == "J":
            del self.rows[self.row][self.column + self.waiting :], self.rows[self.row + 1 :]
        elif verb == "K":
            assert number == 2
            self.rows[self.row] = []
        elif verb == "A":
            self.row, self.waiting = self.row - number, False
        elif verb == "C":
            self.column, self.waiting = min(WIDTH - 1, self.column + number), False
        else:
            assert verb == "m"

    def _letter(self, letter):
        if letter == "\r":
            self.column, self.waiting = 0, False
        elif letter == "\n":
            self._down()
        else:
            if self.waiting:
                self._down()
            cells = self.rows[self.row]
            cells.extend(" " * (self.column + 1 - len(cells)))
            cells[self.column] = letter
            self.waiting = self.column == WIDTH - 1
            self.column += not self.waiting

    def _down(self):
        self.row, self.column, self.waiting = self.row + 1, 0, False
        if self.row == len(self.rows):
            self.rows.append([])

    def shown(self):
        return ["".join(row) for row in self.rows]


def rows_of(text):
    """Return the rows that text alone fills, the way a terminal breaks them."""
    rows = []
    for line in text.split("\n"):
        rows += [line[i : i + WIDTH] for i in range(0, len(line), WIDTH)] or [""]
    return rows


def a_screen(out, err):
    ticks = iter(range(10**6))
    return Screen(out, err, width=lambda: WIDTH, clock=lambda: next(ticks))


@settings(deadline=None)
@given(pieces=st.lists(st.text("ab \n", max_size=30), max_size=8))
def test_the_live_line_leaves_no_mark_on_the_text(pieces):
    terminal = Terminal()
    screen = a_screen(terminal, terminal)
    for piece in pieces:
        screen.text(piece)
        screen.line("gamma 4 | a line that is too long")
    screen.wipe()

    assert rows_of("".join(pieces)) == terminal.shown()


def test_the_live_line_stands_below_the_text_and_fits_the_width():
    terminal = Terminal()
    screen = a_screen(terminal, terminal)
    screen.text("some text")
    screen.line("gamma 4, accepted 80%")

    assert terminal.shown() == ["some text", "gamma 4, ac"]


def test_the_last_row_of_the_text_is_ended_so_that_messages_begin_on_their_own():
    terminal = Terminal()
    screen = a_screen(terminal, terminal)
    screen.text("some text")
    screen.line("live")
    screen.close()
    screen.note("done")

    assert terminal.shown() == ["some text", "done", ""]


def test_with_the_text_in_a_pipe_the_live_line_has_a_row_of_its_own():
    pipe, terminal = Stream(terminal=False), Terminal()
    screen = a_screen(pipe, terminal)
    for piece in ("some ", "te\x1bxt"):
        screen.text(piece)
        screen.line("gamma 4")
    before = terminal.shown()
    screen.close()

    assert pipe.getvalue() == "some te\x1bxt"
    assert (before, terminal.shown()) == (["gamma 4"], [""])


@pytest.mark.parametrize("live", [True, False])
def test_nothing_is_drawn_where_nobody_looks(live):
    out, err = Stream(terminal=True), Stream(terminal=not live)
    screen = Screen(out, err, live=live, width=lambda: WIDTH, clock=lambda: 0.0)
    screen.text("text")
    screen.line("gamma 4")
    screen.close()

    assert (out.getvalue(), err.getvalue()) == ("text\n", "")


def test_the_line_is_not_drawn_more_often_than_anyone_can_read():
    terminal, now = Stream(terminal=True), [0.0]
    screen = Screen(Stream(terminal=False), terminal, width=lambda: WIDTH, clock=lambda: now[0])
    for now[0] in (5.0, 5.01, 5.02):
        screen.line("x")

    assert terminal.getvalue().count("x") == 1


@settings(deadline=None)
@given(text=st.text())
def test_no_text_can_steer_the_terminal(text):
    shown = harmless(text)

    assert len(text) == len(shown)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
