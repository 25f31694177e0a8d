"""Observers of a decoder: they see each request begin, advance and end, and no failure of theirs costs a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from paceline.core.errors import INTERRUPTS, describe, short_repr
from paceline.core.generation import Tally
from paceline.core.log import log
from paceline.core.records import Round


@dataclass(frozen=True, slots=True, eq=False)
class ObservedRequest:
    """One request, the same object from its start to its end; compared by identity, so that it may be a key.

    Attributes:
        prompt_tokens: Length of the prompt.
        tally: Sums over its rounds so far. `tally.ended` is None at the end of a request that was abandoned or failed.
    """

    prompt_tokens: int
    tally: Tally


class RequestObserver(Protocol):
    """Sees the requests of a decoder, to count or to show them.

    Called in the thread that takes the rounds, `on_round` in the decoder's turn: each call is time that a text takes
    longer. What an observer raises is logged, and it is left alone from then on.
    """

    def on_start(self, request: ObservedRequest) -> None:
        """See a request before anything is computed for it."""
        ...

    def on_round(self, request: ObservedRequest, done: Round) -> None:
        """See a finished round, which the sums of the request hold already."""
        ...

    def on_end(self, request: ObservedRequest, error: BaseException | None) -> None:
        """See that a request is over, and what ended it if that was an error."""
        ...


class Observing:
    """A decoder's way to its observer."""

    def __init__(self, observer: RequestObserver | None) -> None:
        self._observer = observer

    @contextmanager
    def request(self, prompt_tokens: int, tally: Tally) -> Iterator[Callable[[Round], None]]:
        """Tell of a request's start, give what tells of a round, and tell of its end, be it that it was abandoned."""
        request = ObservedRequest(prompt_tokens, tally)
        self._tell(lambda observer: observer.on_start(request))
        ended_by: BaseException | None = None
        try:
            yield lambda done: self._tell(lambda observer: observer.on_round(request, done))
        except GeneratorExit:  # abandoned, which is no error
            raise
        except BaseException as error:
            ended_by = error
            raise
        finally:
            self._tell(lambda observer: observer.on_end(request, ended_by))

    def _tell(self, call: Callable[[RequestObserver], None]) -> None:
        if self._observer is None:
            return
        try:
            call(self._observer)
        except INTERRUPTS:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, the text goes on
            log.warning(
                "observer_failed",
                observer=describe(self._observer),
                error=short_repr(error),
                action="going on without it",
            )
            self._observer = None
