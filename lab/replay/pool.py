"""Tasks on all cores: one process a core, each with the recording open and the plugins loaded."""

from __future__ import annotations

import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from typing import TYPE_CHECKING

from paceline.core.errors import TraceError
from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.recording.reader import read_recording
from paceline.lab.replay.passes import Done, Stage, Task

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path


def _quiet() -> None:
    # Ctrl-C goes to all processes of a terminal; the first one decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@cache
def _stage(path: Path) -> Stage:
    """Open a recording, once in each process."""
    return Stage(read_recording(path), Catalogue.load())


def _run(path: Path, task: Task) -> Done:
    return _stage(path).run(task)


def run_all(path: Path, tasks: Sequence[Task], *, jobs: int, stage: Stage | None = None) -> Generator[Done]:
    """Yield what comes of each task, in the order in which they end.

    Args:
        path: The recording.
        tasks: What to play; the longest ones first, if that is known.
        jobs: How many processes; 1 is this one.
        stage: The recording as this process has it open, for `jobs` 1.

    Raises:
        TraceError: A process was killed, as happens when memory runs out.
    """
    if jobs == 1 or len(tasks) < 2:
        yield from map((stage or Stage(read_recording(path), Catalogue.load())).run, tasks)
        return
    # Spawned, since a fork of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    others = {child.pid for child in multiprocessing.active_children()}
    pool = ProcessPoolExecutor(min(jobs, len(tasks)), context, _quiet)
    try:
        futures = [pool.submit(_run, path, task) for task in tasks]
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool as error:
                raise TraceError(
                    "a process of the replay was killed, perhaps for memory; start again with fewer --jobs: what was "
                    "finished is kept"
                ) from error
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            if child.pid not in others:
                child.terminate()
        raise
    pool.shutdown()
