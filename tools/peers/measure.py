"""The measurement: all modes on a prompt, then on the next, each text a line of a file that can be gone on with."""

from __future__ import annotations

import json
import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from paceline.core.errors import ConfigError
from paceline.core.files import MIB, input_lines, open_input
from paceline.core.json_text import parse_json
from peers.protocol import Request, WorkerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from paceline.lab.workloads.prompts import Prompt
    from peers.modes import Mode
    from peers.protocol import Worker

WARM = 8
"""Tokens that each mode writes before anything counts: memory is touched, kernels are chosen."""

PAUSE_S = 0.25
"""Rest between two texts, so that threads of the engine before that still spin have gone to sleep."""


class Setting(NamedTuple):
    """Threads of the engine, and temperature; 0 is greedy."""

    threads: int
    temperature: float


class Key(NamedTuple):
    """A text of a run."""

    prompt: str
    mode: str
    precision: str
    threads: int
    temperature: float
    limit: int


class Text(NamedTuple):
    """A text that was written, and what it took."""

    kind: str
    prompt_tokens: int
    tokens: tuple[int, ...]
    cpu_s: float
    wall_s: float


Texts = dict[Key, Text]


def read(path: Path) -> Texts:
    """Return the texts of a file; none where there is no file. A last line that was cut short is left alone.

    Raises:
        ConfigError: A line is none of ours; names it.
    """
    texts: Texts = {}
    if not path.exists():
        return texts
    with open_input(path, ConfigError) as file:
        for number, line in input_lines(file, path, ConfigError, most=16 * MIB):
            if not line.endswith(b"\n"):
                break
            try:
                values: Any = parse_json(line)
                key = Key(**{name: values.pop(name) for name in Key._fields})
                texts[key] = Text(**{**values, "tokens": tuple(values["tokens"])})
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise ConfigError(
                    f"{path}:{number}: no text of this measurement; give another --out"
                ) from error
    return texts


@dataclass(frozen=True, slots=True)
class Plan:
    """A measurement to be made.

    Attributes:
        modes: Each with its precision.
        settings: All modes run under each.
        limit: The most tokens of a text.
        minutes: After them no further prompt is begun.
        seed: For temperatures above 0.
    """

    modes: Sequence[tuple[Mode, str]]
    settings: Sequence[Setting]
    limit: int
    minutes: float
    seed: int = 0


def measure(
    prompts: Sequence[Prompt], plan: Plan, start: Callable[[str, str, int], Worker], path: Path
) -> dict[str, str]:
    """Let every mode write every prompt's text, and append what is not in the file yet.

    The modes take turns on each prompt, and another one begins each time. A mode that cannot be used is left out from
    there on. Numbers of threads follow one another: the engines of one fill the memory of a small machine.

    Args:
        prompts: In the order in which they are taken.
        plan: What is measured.
        start: Returns a worker for an engine, a precision and a number of threads.
        path: The file.

    Returns:
        The modes that were left out, with the reason.
    """
    failed = dict[str, str]()
    began = perf_counter()
    for threads in dict.fromkeys(setting.threads for setting in plan.settings):
        done = read(path)
        left = [list(_open(prompt, number, plan, threads, done)) for number, prompt in enumerate(prompts)]
        with _appending(path) as file, closing(_Workers(start, prompts[0], failed)) as workers:
            workers.warm({(mode, key.precision, key.threads): None for keys in left for mode, key in keys})
            for number, (prompt, keys) in enumerate(zip(prompts, left, strict=True)):
                if (perf_counter() - began) / 60 > plan.minutes:
                    _say(f"{plan.minutes:g} minutes are over; the same command goes on")
                    return failed
                for mode, key in keys:
                    text = workers.write(mode, key, prompt, plan.seed)
                    if text is not None:
                        file.write(json.dumps({**key._asdict(), **text._asdict()}) + "\n")
                        file.flush()
                _say(f"{number + 1} of {len(prompts)} prompts, {(perf_counter() - began) / 60:.1f} min")
    return failed


def _open(
    prompt: Prompt, number: int, plan: Plan, threads: int, done: Mapping[Key, Text]
) -> Iterator[tuple[Mode, Key]]:
    for setting in plan.settings:
        if setting.threads != threads:
            continue
        for turn in range(len(plan.modes)):
            mode, precision = plan.modes[(turn + number) % len(plan.modes)]
            key = Key(prompt.name, mode.name, precision, *setting, plan.limit)
            if key not in done:
                yield mode, key


class _Workers:
    """The engines in use, each started when it is first needed."""

    def __init__(
        self, start: Callable[[str, str, int], Worker], prompt: Prompt, failed: dict[str, str]
    ) -> None:
        self._start, self._prompt, self._failed = start, prompt, failed
        self._workers: dict[tuple[str, str, int], Worker] = {}

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers.values():
            worker.close()

    def warm(self, used: Mapping[tuple[Mode, str, int], None]) -> None:
        """Start what will be needed, and let each mode write a few tokens, greedy."""
        for mode, precision, threads in used:
            _say(f"starting {mode.name} {precision}, {threads} threads")
            key = Key(self._prompt.name, mode.name, precision, threads, 0.0, WARM)
            self.write(mode, key, self._prompt, 0)

    def write(self, mode: Mode, key: Key, prompt: Prompt, seed: int) -> Text | None:
        """Return the text of a mode, or None where it is left out."""
        name = f"{mode.name} {key.precision}"
        if name in self._failed:
            return None
        place = (mode.engine, key.precision, key.threads)
        try:
            if place not in self._workers:
                self._workers[place] = self._start(*place)
            sleep(PAUSE_S)
            reply = self._workers[place].ask(
                Request(mode.way, list(prompt.tokens), key.limit, key.temperature, seed)
            )
        except WorkerError as error:
            _say(f"{name} is left out: {error}")
            self._failed[name] = str(error)
            return None
        return Text(prompt.kind, len(prompt.tokens), tuple(reply.tokens), reply.cpu_s, reply.wall_s)


@contextmanager
def _appending(path: Path) -> Iterator[IO[str]]:
    """Open a file of lines behind its last whole one."""
    with path.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
    with path.open("a", encoding="utf-8") as file:
        yield file


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
