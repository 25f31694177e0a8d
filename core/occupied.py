"""Whose turn it is: a decoder serves one request at a time, and one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from paceline.core.errors import CapabilityError


class Occupation:
    """Refuses a request while another one is under way, and a round while another thread is in one.

    Args:
        interleaved: Whether several requests may be under way; the caller takes their rounds in turn.
    """

    def __init__(self, *, interleaved: bool) -> None:
        self._interleaved = interleaved
        self._request = Lock()
        self._round = Lock()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Hold the decoder for one request."""
        if self._interleaved:
            yield
            return
        if not self._request.acquire(blocking=False):
            raise CapabilityError(
                "this decoder is in the middle of another request; take that one to its end or close its iterator, or "
                "make a second decoder (for threads: one for each)"
            )
        try:
            yield
        finally:
            self._request.release()

    def __enter__(self) -> None:
        if not self._round.acquire(blocking=False):
            raise CapabilityError(
                "another thread is in a round of this decoder; take rounds in one thread, or give each thread its own "
                "decoder"
            )

    def __exit__(self, *_: object) -> None:
        self._round.release()
