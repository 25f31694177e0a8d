"""The progress bar of long work: on stderr, and only if that is a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress(*, still: bool) -> Progress:
    """Return a bar that vanishes when the work is done.

    Args:
        still: Whether it moves only when it is told to, between pieces of timed work: drawing it from a thread of its
            own would be on somebody's time.
    """
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
        auto_refresh=not still,
    )
