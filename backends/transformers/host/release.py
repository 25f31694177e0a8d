"""Names a transformers that is newer than any that was tested: once in the log, and in errors it may have caused."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache as once
from typing import TYPE_CHECKING

import structlog

from paceline.backends.torch.libraries import untested_release
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger()


@once
def announce() -> None:
    """Log one line, once a process, where the release is untested."""
    doubt = untested_release()
    if doubt is not None:
        log.warning("transformers_untested", reason=doubt)


@contextmanager
def release_named() -> Iterator[None]:
    """Log an untested release, and add it to whatever is raised inside, or in a function that this decorates.

    For places where what transformers hands us or lets us read is met first, not for every pass.
    """
    announce()
    try:
        yield
    except BackendError as problem:
        doubt = untested_release()
        if doubt is None or doubt in str(problem):
            raise
        raise BackendError(f"{str(problem).rstrip('.')}. Mind: {doubt}") from problem
    except Exception as problem:
        doubt = untested_release()
        if doubt is not None and doubt not in getattr(problem, "__notes__", ()):
            problem.add_note(doubt)
        raise
