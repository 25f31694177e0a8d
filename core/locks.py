"""Locks: whose turn it is with a decoder, and what a process that was forked off must not share with its parent.

Nothing can be said to a child before it is there, so whoever holds a lock, or a file that is written, is told in the
child, before anything else happens there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, RLock
from typing import Protocol, Self
from weakref import WeakSet

import structlog

from paceline.core.errors import INTERRUPTS, CapabilityError, describe, short_repr

log = structlog.get_logger()


class Forkable(Protocol):
    """Something that a child process must not use as its parent left it."""

    def forked(self) -> None:
        """Part with the parent's; called once in each child, while no other thread runs there."""
        ...


# The hook cannot be taken back, so there is one for all; it keeps nothing alive.
_forkables: WeakSet[Forkable] = WeakSet()


def register_forkable(thing: Forkable) -> None:
    """See to it that `thing.forked()` is called in every process that is forked off from now on."""
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


class Occupation:
    """Refuses a request while another one is under way, and a round while another thread is in one.

    Args:
        interleaved: Whether several requests may be under way; the caller takes their rounds in turn.
    """

    def __init__(self, *, interleaved: bool) -> None:
        self._interleaved = interleaved
        self.forked()
        register_forkable(self)

    def forked(self) -> None:
        """Be free: whoever held it is not in this process."""
        self._request, self._round = Lock(), Lock()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Hold the decoder for one request."""
        if self._interleaved:
            yield
            return
        held = self._request
        if not held.acquire(blocking=False):
            raise CapabilityError(
                "this decoder is in the middle of another request; take that one to its end or close its iterator, or "
                "make a second decoder (for threads: one for each)"
            )
        try:
            yield
        finally:
            held.release()

    def __enter__(self) -> None:
        if not self._round.acquire(blocking=False):
            raise CapabilityError(
                "another thread is in a round of this decoder; take rounds in one thread, or give each thread its own "
                "decoder"
            )

    def __exit__(self, *_: object) -> None:
        if self._round.locked():  # not where the round was forked from the parent's
            self._round.release()
