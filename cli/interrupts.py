"""Being asked to stop: SIGTERM and SIGHUP are answered as Ctrl-C is, so that terminal, text and files are in order."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

USUAL = frozenset({signal.SIG_DFL, signal.default_int_handler})
"""Handlers that are replaced. Another one, or being told to ignore the signal (`nohup`), is somebody's wish."""


class Stopped(KeyboardInterrupt):
    """The process was sent a signal that asks it to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(slots=True)
class Stops:
    """Which signal came first, if one came: an exception may get lost on its way through other people's code."""

    number: int | None = None

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Take note of a signal, and raise `Stopped`."""
        if self.number is None:
            self.number = number
        raise Stopped(number)


@contextmanager
def stops() -> Iterator[Stops]:
    """Raise `Stopped` on a signal while the block runs; outside the main thread signals stay as they are."""
    found = Stops()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler in USUAL:
            signal.signal(number, found.handle)
    try:
        yield found
    finally:
        for number, handler in before.items():
            if handler in USUAL:
                signal.signal(number, handler)


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code of a command that was stopped: 128 + the signal's number."""
    return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)
