"""The lock of a decoder: one request at a time, or one round at a time."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from paceline.core.errors import CapabilityError
from paceline.core.forking import register_forkable

if TYPE_CHECKING:
    from collections.abc import Iterator


class DecoderLock:
    """Refuses a request while another one is under way, and a round while another thread is in one.

    Args:
        interleaved: Whether several requests may be under way; the caller takes their rounds in turn.
    """

    def __init__(self, *, interleaved: bool) -> None:
        self.interleaved = interleaved
        self.forked()
        register_forkable(self)

    def forked(self) -> None:
        """Take new locks: whoever held the old ones is not in this process."""
        self._request, self._round = Lock(), Lock()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Hold the decoder for one request."""
        if self.interleaved:
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
