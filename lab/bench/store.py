"""The file that a bench writes its runs to, so that one that was interrupted goes on where it stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from paceline.core.environment import describe_machine, versions
from paceline.core.errors import ConfigError, PacelineError, TraceError
from paceline.core.files import check_output
from paceline.core.trace import prompt_sha256
from paceline.lab.results import Key
from paceline.lab.results_file import MALFORMED, ResultsWriter, read_stored

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from paceline.core.config.run import RunConfig
    from paceline.lab.bench.choices import Choice
    from paceline.lab.bench.run import Bench
    from paceline.lab.results_file import Stored

BENCH = "bench"
"""Key of a file's source that a bench writes, and a replay does not."""


@dataclass(frozen=True, slots=True)
class BenchFile:
    """A file that a bench goes on with, or begins.

    Attributes:
        path: Its place.
        source: What is run: an interrupted bench goes on where all of it is the same.
    """

    path: Path
    source: Mapping[str, Any]

    def open(self, bench: Bench, *, force: bool = False) -> ResultsWriter:
        """Take up what an interrupted run of the same bench has left, and return where it goes on.

        What a finished bench has left is replaced, since measuring again is what a second one is for.

        Raises:
            ConfigError: The file holds a replay, or an interrupted bench of something else.
            TraceError: It is damaged, or no file of results, or cannot be written.
        """
        check_output(self.path)
        size = 0 if force else self._take_up(bench)
        writer = ResultsWriter(self.path, self.source, size=size)
        keys = [
            Key(mode, clock="wall", repeat=repeat) for repeat in range(bench.repeats) for mode in bench.modes
        ]
        writer.request(keys, {})
        return writer

    def obstacle(self) -> str | None:
        """Return why a bench can neither begin in this file nor go on, if it cannot."""
        try:
            stored = self._stored()
            return None if stored is None else self._difference(stored)
        except PacelineError as error:
            return str(error)

    def _stored(self) -> Stored | None:
        """Return what an interrupted bench has left."""
        if not self.path.exists() or not self.path.stat().st_size:
            return None
        stored = read_stored(self.path)
        if BENCH not in stored.results.source:
            raise ConfigError(
                f"{self.path} holds the results of a replay; write to another file with --results"
            )
        return None if stored.results.complete else stored

    def _difference(self, stored: Stored) -> str | None:
        """Return in what this run and the one that was interrupted differ, if they do."""
        before, now = stored.results.source, json.loads(json.dumps(self.source))
        keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        return f"it holds an interrupted bench of another run, {', '.join(keys)} differ" if keys else None

    def _take_up(self, bench: Bench) -> int:
        """Return how many bytes of the file are kept."""
        stored = self._stored()
        if stored is None:
            return 0
        if difference := self._difference(stored):
            raise ConfigError(
                f"{self.path}: {difference}; replace it with --force, or write to another file with --results"
            )
        try:
            bench.take_up(stored)
        except MALFORMED as error:
            raise TraceError(
                f"{self.path}: a block is damaged: {error!r}; begin anew with --force"
            ) from error
        return stored.size


def bench_file(path: Path, bench: Bench, choice: Choice, run: RunConfig) -> BenchFile:
    """Return the file of a bench."""
    prompts = sorted((prompt.name, prompt_sha256(prompt.tokens)) for prompt in bench.prompts)
    source = {
        BENCH: list(bench.modes),
        "policies": choice.policies,
        "code": choice.code,
        "config": run.model_dump(mode="json"),
        "prompts": sha256(repr(prompts).encode()).hexdigest(),
        "repeats": bench.repeats,
        "versions": versions(),
        "machine": describe_machine(),
    }
    return BenchFile(path, source)
