"""The progress bar of long work: on stderr, and only if that is a terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


LONGEST_PIECE_S = 3600.0
"""Time that a piece of work may take and still count for how much is left."""


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
        speed_estimate_period=LONGEST_PIECE_S,
    )


@contextmanager
def counted(
    description: str, total: int | None = None, *, still: bool = False
) -> Iterator[Callable[[], None]]:
    """Show a bar while the block runs, and yield what is called after each piece of the work."""
    with progress(still=still) as bar:
        task = bar.add_task(description, total=total)
        yield lambda: bar.update(task, advance=1, refresh=still)
