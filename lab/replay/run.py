"""Plan of a replay: its passes, as tasks, and the file they are written to."""

from __future__ import annotations

import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, get_args

from paceline.core.config.blocks import PolicyConfig
from paceline.core.environment import versions
from paceline.core.errors import ConfigError, TraceError
from paceline.core.files import check_output, sha256
from paceline.core.plugins.catalogue import Catalogue
from paceline.core.plugins.hooks import impl
from paceline.lab.recording.reader import read_recording
from paceline.lab.replay.choices import choose
from paceline.lab.replay.passes import Stage, Task, without
from paceline.lab.replay.simulator import check_shared
from paceline.lab.replay.texts import check_drawn
from paceline.lab.results import Order, Results, Start
from paceline.lab.results_file import ResultsWriter, Stored, read_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from pathlib import Path

    from paceline.lab.recording.model import Header, Recording
    from paceline.lab.replay.choices import Chosen
    from paceline.lab.replay.passes import Done

ORDERS: tuple[Order, ...] = ("shuffled", "by-kind")
STARTS: tuple[Start, ...] = ("warm", "cold")
SEEDS = 3


@dataclass(frozen=True, slots=True)
class Settings:
    """Number and orders of the tries of each policy.

    Attributes:
        seeds: How many seeds, from 0: of the policies and of the orders.
        draws: How many draws of the agreement; None takes the one that was recorded.
        batch: Texts that are decoded at once, by policies that go on learning.
    """

    orders: Sequence[Order] = ORDERS
    starts: Sequence[Start] = STARTS
    seeds: int = SEEDS
    draws: int | None = None
    batch: int = 1

    def __post_init__(self) -> None:
        if self.batch > 1 and "cold" in self.starts:
            raise ConfigError(
                "texts that are decoded at once have one policy, which cannot begin anew on each: start them warm"
            )

    def ways(self) -> list[tuple[Order, Start]]:
        """Return the orders with their starts.

        Policies that start cold on each text do not feel the order of the texts, so that one order stands for all
        that hold the same texts: the one recorded.
        """
        settings: dict[tuple[Order, Start], None] = {}
        for start in self.starts:
            for order in self.orders:
                settings["recorded" if start == "cold" and order != "switching" else order, start] = None
        return list(settings)


def tasks(chosen: Chosen, settings: Settings) -> list[Task]:
    """Return the passes of a replay, those of one way and seed together."""
    draws = [None] if settings.draws is None else range(settings.draws)
    # Where texts are decoded at once, what a static choice takes depends on the others.
    static = chosen.static if settings.batch == 1 else {}
    adaptive = [label for label in chosen.policies if label not in static]
    groups: list[list[str]] = [list(static), *([label] for label in adaptive)]
    return [
        Task(
            {label: chosen.policies[label] for label in group},
            {label: static[label] for label in group if label in static},
            order,
            start,
            seed,
            draw,
            settings.batch,
        )
        for order, start in settings.ways()
        for seed in range(settings.seeds)
        for draw in draws
        for group in groups
        if group
    ]


def identity(path: Path, header: Header, batch: int = 1) -> dict[str, Any]:
    """Return what tells a recording from others, as it stands in a replay of it."""
    return {
        "path": str(path),
        "sha256": sha256(path, TraceError),
        "header": {
            "run": dict(header.run),
            "longest": header.longest,
            "mode": header.mode,
            "made_up": header.made_up,
            "drafts": list(header.drafts),
        },
        "versions": versions(),
        **({"batch": batch} if batch > 1 else {}),
    }


def known_passes(out: Path, recording: dict[str, Any], *, force: bool) -> Stored:
    """Return what an earlier replay has left in a file, for the same recording and the same paceline.

    Raises:
        ConfigError: The file holds a replay of something else, or none can be written there.
        TraceError: The file is damaged.
    """
    check_output(out)
    if force or not out.exists() or not out.stat().st_size:
        return Stored(Results(recording))
    stored = read_stored(out)
    for key, what in (
        ("sha256", "another recording"),
        ("versions", "other versions of paceline or its libraries"),
        ("batch", "another number of texts at once"),
    ):
        if stored.results.source.get(key) != recording.get(key):
            raise ConfigError(
                f"{out} holds results of {what}; replace it with --force, or write to another file with --out"
            )
    return stored


def replay(
    path: Path,
    out: Path,
    chosen: Chosen,
    settings: Settings,
    *,
    header: Header,
    jobs: int = 1,
    force: bool = False,
    on_start: Callable[[int, int, Sequence[str]], None] | None = None,
    on_done: Callable[[Done], None] | None = None,
) -> Results:
    """Play every pass that an earlier replay has not left in the file, and return all that were asked for.

    Finished passes are in the file at once, so that whatever stops this costs the passes under way alone.

    Args:
        path: The recording.
        out: The file; passes of the same recording that are in it are kept.
        chosen: What is tried; policies that turn out not to be replayable are added to `left_out`.
        settings: In which orders, and how often.
        header: Of the recording.
        jobs: Processes.
        force: Whether to begin the file anew.
        on_start: Told how many passes are known already, how many are wanted, and the policies whose code is another
            one by now than that of their passes, which are played again.
        on_done: Told of each task that ends.

    Raises:
        ConfigError: The file holds a replay of something else.
        TraceError: The file is damaged, a process was killed, or so many texts at once were not timed.
    """
    check_shared(header, settings.batch)
    recording = identity(path, header, settings.batch)
    stored = known_passes(out, recording, force=force)
    results = stored.results
    everything = tasks(chosen, settings)
    keys = [key for task in everything for key in task.pass_keys()]
    # A label may stand for something else by now.
    same = {key for key in results.passes if results.options[key.policy] == chosen.policies.get(key.policy)}
    known = {key for key in same if results.code.get(key.policy) == chosen.code[key.policy]}
    recoded = list(dict.fromkeys(key.policy for key in keys if key in same - known))
    left = [part for task in everything if (part := without(task, known)) is not None]
    if on_start is not None:
        on_start(len(keys) - sum(len(task.policies) for task in left), len(keys), recoded)
    with ResultsWriter(out, recording, size=stored.size) as writer:
        writer.request(keys, chosen.left_out)
        with closing(run_all(path, left, jobs=jobs)) as running:
            for done in running:
                for key, measured in done.passes.items():
                    options, code = chosen.policies[key.policy], chosen.code[key.policy]
                    results.replace(key, options, measured, code=code)
                    writer.add(key, options, measured, code=code)
                if done.failed is not None:
                    chosen.left_out |= dict.fromkeys(done.task.policies, done.failed)
                if on_done is not None:
                    on_done(done)
        writer.request(keys, chosen.left_out)
        writer.end()
    results.left_out, results.complete = chosen.left_out, True
    return results.only(keys)


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


class _Further:
    """A plugin of policies that are given as configurations."""

    def __init__(self, configs: Iterable[type[PolicyConfig]]) -> None:
        self._configs = tuple(configs)

    @impl
    def register_policies(self) -> Iterable[type[PolicyConfig]]:
        """Return them."""
        return self._configs


def _including(policies: Sequence[str | PolicyConfig], catalogue: Catalogue) -> Catalogue:
    """Return a catalogue that has the policies which are given as configurations as well."""
    configs = [policy for policy in policies if isinstance(policy, PolicyConfig)]
    further = {type(config) for config in configs if config.name not in catalogue.policies}
    return Catalogue.load([_Further(further)]) if further else catalogue


def replay_policies(
    recording: Recording,
    policies: Sequence[str | PolicyConfig] = (),
    *,
    orders: Sequence[Order] = ("recorded",),
    starts: Sequence[Start] = ("warm",),
    seeds: int = 1,
    draws: int | None = None,
    batch: int = 1,
    catalogue: Catalogue | None = None,
) -> Results:
    """Play policies on a recording in virtual time, in this process, and return what they take.

    Args:
        recording: The texts.
        policies: Names as `--policies` takes them, `online:window=5` or `static-3`, or configurations, of policies that
            are not installed as well; by default everything that is. Plain decoding is always among them.
        orders: How texts follow one another.
        starts: Whether policies go on with what earlier texts taught them.
        seeds: How many seeds, from 0: of the policies and of the orders.
        draws: How many draws of the agreement; None takes the one that was recorded.
        batch: Texts that are decoded at once; the recording must have times of such passes.
        catalogue: The installed plugins, where they are at hand.

    Raises:
        ConfigError: A name is given twice, there is no such policy, option, order or start, or no seed or draw.
        TraceError: Draws of a greedy recording are asked for, or more texts at once than were timed.
    """
    if isinstance(policies, str) or not all(isinstance(policy, str | PolicyConfig) for policy in policies):
        raise ConfigError(
            "policies are a list of names or configurations, as in ['online:window=5', StaticConfig(gamma=3)]"
        )
    for what, given, allowed in (("order", orders, get_args(Order)), ("start", starts, get_args(Start))):
        if isinstance(given, str) or not given or not set(given) <= set(allowed):
            raise ConfigError(f"{what}s are a list of {', '.join(allowed)}; this is {given!r}")
    for what, count in (("seeds", seeds), ("draws", draws), ("texts at once", batch)):
        if count is not None and count < 1:
            raise ConfigError(f"{what} are a number from 1 on; this is {count}")
    if draws is not None:
        check_drawn(recording.header)
    check_shared(recording.header, batch)
    catalogue = catalogue or _including(policies, Catalogue.load())
    chosen = choose(recording.header, catalogue, policies)
    stage, results = Stage(recording, catalogue), Results(left_out=chosen.left_out)
    for task in tasks(chosen, Settings(orders, starts, seeds, draws, batch)):
        done = stage.run(task)
        for key, measurements in done.passes.items():
            policy = key.policy
            results.replace(key, chosen.policies[policy], measurements, code=chosen.code[policy])
        if done.failed is not None:
            results.left_out |= dict.fromkeys(task.policies, done.failed)
    return results.only(results.passes)
