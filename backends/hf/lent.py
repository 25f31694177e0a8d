"""A cache that a caller has lent: what it holds when it goes back, whatever went wrong."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from paceline.backends.hf.host.cache import cut, empty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paceline.backends.hf.model import Cache


@contextmanager
def lent(cache: Cache | None, shown: Callable[[], int], fresh: Callable[[], Cache]) -> Iterator[None]:
    """Leave a cache no further than the text that was shown, also where an exception ends the work on it.

    An exception may come between the layers of a forward pass, or after a round that nobody was shown. Where a layer
    cannot go back as far, the cache is emptied: the text is then read anew.

    Args:
        cache: The cache, if one was lent.
        shown: Returns how many tokens it may hold.
        fresh: Returns an empty cache for the same model.
    """
    try:
        yield
    except BaseException:
        if cache is not None and not cut(cache, shown()):
            empty(cache, fresh())
        raise
