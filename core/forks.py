"""What a process that was forked off must not share with its parent: files that are written, locks that are held.

Nothing can be said to a child before it is there, so whoever holds such a thing is told in the child, before anything
else happens there.
"""

from __future__ import annotations

import os
from threading import RLock
from typing import Protocol, Self
from weakref import WeakSet

import structlog

from paceline.core.blame import INTERRUPTS, blame, shown

log = structlog.get_logger()


class Forkable(Protocol):
    """Something that a child process must not use as its parent left it."""

    def forked(self) -> None:
        """Part with the parent's; called once in each child, while no other thread runs there."""
        ...


# The hook cannot be taken back, so there is one for all; it keeps nothing alive.
_told: WeakSet[Forkable] = WeakSet()


def tell_of_forks(thing: Forkable) -> None:
    """See to it that `thing.forked()` is called in every process that is forked off from now on."""
    _told.add(thing)


def _in_child() -> None:
    for thing in tuple(_told):
        try:
            thing.forked()
        except INTERRUPTS:
            raise
        except BaseException as error:  # noqa: BLE001 - the others are told all the same
            log.warning("fork_failed", of=blame(thing), error=shown(error))


os.register_at_fork(after_in_child=_in_child)


class ForkSafeLock:
    """A reentrant lock that is free in a child, but for a thread that held it when it forked."""

    def __init__(self) -> None:
        self._lock = RLock()
        tell_of_forks(self)

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
