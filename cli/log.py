"""Logging is configured here and nowhere else: prose for people, on stderr, warnings and worse by default."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog


class _Stderr:
    """Whatever stderr is at the moment of writing."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _line(_logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """Return an event as one line: level, event, and its values."""
    values = " ".join(f"{key}={value!r}" for key, value in event.items() if key != "event")
    return f"paceline: {method}: {event.get('event', '')} {values}".rstrip()


def configure(*, verbose: bool) -> None:
    """Send log events to stderr: warnings and worse, or everything when `verbose`."""
    structlog.configure(
        processors=[structlog.processors.format_exc_info, _line],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(_Stderr()),  # type: ignore[arg-type]  # writes and flushes only
        cache_logger_on_first_use=False,
    )
