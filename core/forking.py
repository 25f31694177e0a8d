"""Forks: locks, files and counts that a child process must not use as its parent left them.

Nothing can be done for a child before it exists, so objects that hold such a thing register themselves, and their
`forked` is called in the child before anything else happens there.
"""

from __future__ import annotations

import os
from threading import RLock
from typing import Protocol, Self
from weakref import WeakSet

from paceline.core.errors import INTERRUPTS, describe, short_repr
from paceline.core.log import log


class Forkable(Protocol):
    """Something that a child process must not use as its parent left it."""

    def forked(self) -> None:
        """Part with the parent's; called once in each child, while no other thread runs there."""
        ...


# The hook cannot be taken back, so there is one for all; it keeps nothing alive.
_forkables: WeakSet[Forkable] = WeakSet()


def register_forkable(thing: Forkable) -> None:
    """Have `thing.forked()` called in every process that is forked off from now on; `thing` is not kept alive."""
    _forkables.add(thing)


def _in_child() -> None:
    for thing in tuple(_forkables):
        try:
            thing.forked()
        except INTERRUPTS:
            raise
        except BaseException as error:  # noqa: BLE001 - the others are told all the same
            log.warning("fork_failed", of=describe(thing), error=short_repr(error))


os.register_at_fork(after_in_child=_in_child)


class ForkSafeLock:
    """A reentrant lock that is free in a child, but for a thread that held it when it forked."""

    def __init__(self) -> None:
        self._lock = RLock()
        register_forkable(self)

    def forked(self) -> None:
        """Take another lock if a thread of the parent held this one, for there is nobody who could release it."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock = RLock()

    def __enter__(self) -> Self:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()
