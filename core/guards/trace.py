"""A decoder's trace, as far as it can be written: under `fallback` a trace that fails costs no text."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import structlog

from paceline.core.errors import INTERRUPTS, PacelineError, TraceError, short_repr

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.core.loop import Request
    from paceline.core.protocols import Draft
    from paceline.core.records import Round
    from paceline.core.trace import RequestRecorder, TraceWriter

log = structlog.get_logger()


class Tracing:
    """Writer of a decoder's trace.

    Under `fallback` the first failure is logged and nothing is written from then on: what comes after a line that was
    cut off could not be read. Otherwise it raises `TraceError`.
    """

    def __init__(self, writer: TraceWriter | None, *, fallback: bool) -> None:
        self._writer = writer
        self._fallback = fallback

    def request(self, request: Request, drafts: Mapping[str, Draft]) -> TracedRun:
        """Return what writes a request; enter it when the request begins."""
        return TracedRun(self, request, drafts)

    def begin(self, request: Request, drafts: Mapping[str, Draft]) -> RequestRecorder | None:
        """Write how a request begins, and return what writes the rest; None where nothing is written."""
        if self._writer is None:
            return None
        recorders: list[RequestRecorder] = []
        self.attempt(lambda writer: recorders.append(_begin(writer, request, drafts)))
        return recorders[0] if recorders else None

    def close(self) -> None:
        """Close the file."""
        self.attempt(lambda writer: writer.close())

    def attempt(self, write: Callable[[TraceWriter], None]) -> None:
        """Write something, or give the trace up."""
        writer = self._writer
        if writer is None:
            return
        try:
            write(writer)
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


class TracedRun:
    """One request of a trace. Left, it has an end, if only that of a request that was abandoned."""

    def __init__(self, tracing: Tracing, request: Request, drafts: Mapping[str, Draft]) -> None:
        self._tracing = tracing
        self._request = request
        self._drafts = drafts
        self._recorder: RequestRecorder | None = None

    def round(self, done: Round) -> None:
        """Write a finished round."""
        recorder = self._recorder
        if recorder is not None:
            self._tracing.attempt(lambda _writer: recorder.round(done))

    def __enter__(self) -> Self:
        self._recorder = self._tracing.begin(self._request, self._drafts)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trail: TracebackType | None
    ) -> None:
        recorder = self._recorder
        if recorder is not None and not isinstance(error, TraceError):
            self._tracing.attempt(lambda _writer: recorder.end(self._request.ended))


def _begin(writer: TraceWriter, request: Request, drafts: Mapping[str, Draft]) -> RequestRecorder:
    return writer.begin(
        request.prompt,
        request.limits.max_new_tokens,
        drafts=drafts,
        capabilities=request.capabilities,
        memoryless=request.drafts.memoryless(),
        perplexity=request.perplexity,
    )
