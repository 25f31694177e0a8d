"""Passes: one policy over all texts in one order, or all static choices over them at once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from itertools import tee
from typing import TYPE_CHECKING, Any

from paceline.core.errors import PacelineError
from paceline.core.plugins.catalogue import Catalogue, build_policy
from paceline.lab.replay.choices import build
from paceline.lab.replay.simulator import Simulator
from paceline.lab.replay.static_gamma import StaticGamma, sweep
from paceline.lab.replay.tables import ReplayText
from paceline.lab.replay.texts import Stop, briefs, ordered, text_at
from paceline.lab.results import Key, Measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from paceline.core.config.blocks import PolicyConfig
    from paceline.core.generation import Totals
    from paceline.core.records import Round
    from paceline.lab.recording.model import Header, Recording, Text
    from paceline.lab.replay.texts import Brief
    from paceline.lab.results import Order, Start

HELD = 1 << 16
"""Tokens of texts whose tables are kept for the next pass: the default recording many times, some ten megabytes."""


@dataclass(frozen=True, slots=True)
class Task:
    """Work for one process: a pass of one policy, or the passes of several static choices.

    Attributes:
        policies: By label, blocks as JSON-able values; one, or several that are all static.
        static: By label, where all of them are.
        order, start, seed, draw: As in `Measurement`.
        batch: Texts that are decoded at once.
    """

    policies: Mapping[str, Mapping[str, Any]]
    static: Mapping[str, StaticGamma]
    order: Order
    start: Start
    seed: int
    draw: int | None = None
    batch: int = 1

    def pass_keys(self) -> list[Key]:
        """Return what tells its passes apart."""
        return [self.key(label) for label in self.policies]

    def key(self, label: str) -> Key:
        """Return what tells the pass of one of its policies from others."""
        return Key(label, order=self.order, start=self.start, seed=self.seed, draw=self.draw)


@dataclass(frozen=True, slots=True)
class Done:
    """Result of a task: the measurements of its passes, or why there are none."""

    task: Task
    passes: Mapping[Key, Sequence[Measurement]] = field(default_factory=dict)
    failed: str | None = None


@dataclass(slots=True)
class Stage:
    """A recording on which passes are played, with what they can share."""

    recording: Recording
    catalogue: Catalogue
    _briefs: list[Brief] | None = None
    _texts_held: OrderedDict[tuple[Stop, int | None], ReplayText] = field(default_factory=OrderedDict)
    _held: int = 0

    def run(self, task: Task) -> Done:
        """Play the passes of a task; a policy that cannot be tried costs its passes alone."""
        try:
            if task.static:
                return Done(task, self._swept(task))
            ((label, block),) = task.policies.items()
            key, config = task.key(label), build(block, self.catalogue)
            texts = (self._replayed(stop, task.draw) for stop in self._stops(task))
            if task.batch > 1:
                begun = [*texts]
                simulator = Simulator(self.recording.header, build_policy(config, key.seed))
                played = zip(begun, simulator.play_together(begun, task.batch), strict=True)
                return Done(task, {key: [_measurement(key, text.text, totals) for text, totals in played]})
            return Done(task, {key: list(_played(self.recording.header, config, texts, key))})
        except PacelineError as error:
            return Done(task, failed=str(error))

    def _swept(self, task: Task) -> dict[Key, list[Measurement]]:
        measured: dict[Key, list[Measurement]] = {key: [] for key in task.pass_keys()}
        texts, swept = tee(text_at(self.recording, stop, task.draw) for stop in self._stops(task))
        for totals, text in zip(
            sweep(self.recording.header, swept, list(task.static.values())), texts, strict=True
        ):
            for key, each in zip(measured, totals, strict=True):
                measured[key].append(_measurement(key, text, each))
        return measured

    def _stops(self, task: Task) -> list[Stop]:
        if self._briefs is None:
            self._briefs = briefs(self.recording)
        return ordered(self._briefs, task.order, seed=task.seed)

    def _replayed(self, stop: Stop, draw: int | None) -> ReplayText:
        """Return a text with its tables; those that came before and are small are still there."""
        text = self._texts_held.get((stop, draw))
        if text is None:
            text = ReplayText.of(text_at(self.recording, stop, draw), self.recording.header)
            if len(text.record.tokens) <= HELD:
                self._texts_held[stop, draw] = text
                self._held += len(text.record.tokens)
            while self._held > HELD:
                self._held -= len(self._texts_held.popitem(last=False)[1].record.tokens)
        return text


def play_pass(
    recording: Recording,
    options: Mapping[str, Any],
    texts: Iterable[str],
    key: Key,
    *,
    catalogue: Catalogue | None = None,
    on_round: Callable[[Round], None] | None = None,
) -> Iterator[Measurement]:
    """Yield the measurement of each text as it is played, under one policy that goes on learning, or cold under new.

    Args:
        recording: The texts.
        options: Of the policy.
        texts: Their names, in order.
        key: Of the pass; its start and its seed count.
        catalogue: The installed plugins, where they are at hand.
        on_round: Shown each round.

    Raises:
        PacelineError: The policy cannot be built here, or needs what was not recorded.
    """
    config = build(options, catalogue or Catalogue.load())
    return _played(recording.header, config, (recording.texts[name] for name in texts), key, on_round)


def _played(
    header: Header,
    config: PolicyConfig,
    texts: Iterable[Text | ReplayText],
    key: Key,
    on_round: Callable[[Round], None] | None = None,
) -> Iterator[Measurement]:
    simulator = None
    for text in texts:
        if simulator is None or key.start == "cold":
            simulator = Simulator(header, build_policy(config, key.seed), on_round=on_round)
        totals = simulator.play(text)
        yield _measurement(key, text.text if isinstance(text, ReplayText) else text, totals)


def _measurement(key: Key, text: Text, totals: Totals) -> Measurement:
    return Measurement(
        text=text.name,
        kind=text.kind,
        varies=text.varies,
        seconds=totals.seconds,
        totals=totals,
        **key._asdict(),
    )


def without(task: Task, known: set[Key]) -> Task | None:
    """Return what is left of a task when some passes are known already; None when nothing is."""
    left = [key.policy for key in task.pass_keys() if key not in known]
    if not left:
        return None
    return replace(
        task,
        policies={label: task.policies[label] for label in left},
        static={label: task.static[label] for label in left if label in task.static},
    )
