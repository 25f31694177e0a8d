"""A decoder's trace, as far as it can be written: under `fallback` a trace that fails costs no text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import structlog

from paceline.core.errors import INTERRUPTS, PacelineError, TraceError, short_repr

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.core.loop import Request
    from paceline.core.protocols import Draft
    from paceline.core.records import Round
    from paceline.core.trace import TraceWriter

log = structlog.get_logger()

T = TypeVar("T")


class Tracing:
    """A decoder's way to its trace.

    Under `fallback` the first failure is logged and nothing is written from then on: what comes after a line that was
    cut off could not be read. Otherwise it raises `TraceError`.
    """

    def __init__(self, writer: TraceWriter | None, *, fallback: bool) -> None:
        self._writer = writer
        self._fallback = fallback

    @contextmanager
    def request(self, request: Request, drafts: Mapping[str, Draft]) -> Iterator[Callable[[Round], None]]:
        """Write how a request begins, give what writes a round, and write its end, be it that it was abandoned."""
        recorder = self._attempt(
            lambda writer: writer.begin(
                request.prompt,
                request.limits.max_new_tokens,
                drafts=drafts,
                capabilities=request.capabilities,
                memoryless=request.drafts.memoryless(),
                perplexity=request.perplexity,
            )
        )
        if recorder is None:
            yield lambda _done: None
            return
        try:
            yield lambda done: self._attempt(lambda _writer: recorder.round(done))
        except TraceError:  # a line was cut off
            raise
        except BaseException:
            self._attempt(lambda _writer: recorder.end(request.ended))
            raise
        self._attempt(lambda _writer: recorder.end(request.ended))

    def close(self) -> None:
        """Close the file."""
        self._attempt(lambda writer: writer.close())

    def _attempt(self, write: Callable[[TraceWriter], T]) -> T | None:
        """Return what writing answers; None where nothing is written, or the trace is given up."""
        writer = self._writer
        if writer is None:
            return None
        try:
            return write(writer)
        except INTERRUPTS:
            raise
        except BaseException as error:
            if not self._fallback:
                if isinstance(error, PacelineError):
                    raise
                raise TraceError(
                    f"{writer.path}: the trace cannot be written: {short_repr(error)}"
                ) from error
            log.warning(
                "trace_failed",
                file=str(writer.path),
                error=short_repr(error),
                action="going on without a trace",
            )
            self._writer = None
            return None
