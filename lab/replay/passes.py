"""Passes: one policy over all texts in one order, or all static choices over them at once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from paceline.core.errors import PacelineError
from paceline.core.plugins.catalogue import build_policy
from paceline.lab.replay.choosing import build
from paceline.lab.replay.draws import drawn
from paceline.lab.replay.orders import briefs, ordered, visit
from paceline.lab.replay.results import Pass
from paceline.lab.replay.sweep import Choice, sweep
from paceline.lab.replay_text import ReplayText
from paceline.lab.simulate import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from paceline.core.plugins.catalogue import Catalogue
    from paceline.lab.recording.model import Recording, Text
    from paceline.lab.replay.orders import Brief
    from paceline.lab.replay.results import Order, Start

HELD = 1 << 16
"""Tokens of texts whose tables are kept for the next pass: the default recording many times, some ten megabytes."""


class Key(NamedTuple):
    """What tells one pass of a replay from the others."""

    label: str
    order: Order
    start: Start
    seed: int
    draw: int | None


@dataclass(frozen=True, slots=True)
class Task:
    """Work for one process: a pass of one policy, or the passes of several static choices.

    Attributes:
        policies: By label, blocks as JSON-able values; one, or several that are all static.
        static: By label, where all of them are.
        order, start, seed, draw: As in `Pass`.
    """

    policies: Mapping[str, Mapping[str, Any]]
    static: Mapping[str, Choice]
    order: Order
    start: Start
    seed: int
    draw: int | None = None

    def wanted(self) -> list[Key]:
        """Return what tells its passes apart."""
        return [Key(label, self.order, self.start, self.seed, self.draw) for label in self.policies]


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a task: its passes, or why there is none."""

    task: Task
    passes: Sequence[Pass] = ()
    failed: str | None = None


@dataclass(slots=True)
class Stage:
    """A recording on which passes are played, with what they can share."""

    recording: Recording
    catalogue: Catalogue
    _briefs: list[Brief] | None = None
    _texts_held: OrderedDict[tuple[str, int | None], ReplayText] = field(default_factory=OrderedDict)
    _held: int = 0

    def run(self, task: Task) -> Done:
        """Play the passes of a task; a policy that cannot be tried costs its passes alone."""
        try:
            if task.static:
                return Done(task, self._swept(task))
            return Done(task, [self._played(task)])
        except PacelineError as error:
            return Done(task, failed=str(error))

    def _played(self, task: Task) -> Pass:
        ((label, block),) = task.policies.items()
        config, header = build(block, self.catalogue), self.recording.header
        outcomes, simulator = [], None
        for text in self._way(task):
            if simulator is None or task.start == "cold":
                simulator = Simulator(header, build_policy(config, task.seed))
            outcomes.append(simulator.play(text))
        return Pass(label, block, task.order, task.start, task.seed, outcomes, task.draw)

    def _swept(self, task: Task) -> list[Pass]:
        outcomes = list(sweep(self.recording.header, self._texts(task), list(task.static.values())))
        return [
            Pass(label, block, task.order, task.start, task.seed, [one[place] for one in outcomes], task.draw)
            for place, (label, block) in enumerate(task.policies.items())
        ]

    def _texts(self, task: Task) -> Iterator[Text]:
        if self._briefs is None:
            self._briefs = briefs(self.recording)
        header = self.recording.header

        def change(text: Text) -> Text:
            if task.draw is None:
                return text
            # The number of the draw is its seed, so that every policy and every order meets the same draws.
            return drawn(text, header, seed=task.draw)

        return visit(self.recording, ordered(self._briefs, task.order, seed=task.seed), change)

    def _way(self, task: Task) -> Iterator[ReplayText]:
        """Yield the texts of a task one by one; those that came before and are small are still there."""
        header = self.recording.header
        if task.order == "switching":
            for text in self._texts(task):
                yield ReplayText.of(text, header)
            return
        if self._briefs is None:
            self._briefs = briefs(self.recording)
        for stop in ordered(self._briefs, task.order, seed=task.seed):
            replayed = self._texts_held.get((stop.text, task.draw))
            if replayed is None:
                text = self.recording.texts[stop.text]
                replayed = ReplayText.of(
                    text if task.draw is None else drawn(text, header, seed=task.draw), header
                )
                self._hold((stop.text, task.draw), replayed)
            yield replayed

    def _hold(self, name: tuple[str, int | None], text: ReplayText) -> None:
        if len(text.record.tokens) > HELD:
            return
        self._texts_held[name] = text
        self._held += len(text.record.tokens)
        while self._held > HELD:
            self._held -= len(self._texts_held.popitem(last=False)[1].record.tokens)


def without(task: Task, known: set[Key]) -> Task | None:
    """Return what is left of a task when some passes are known already; None when nothing is."""
    left = [key.label for key in task.wanted() if key not in known]
    if not left:
        return None
    return replace(
        task,
        policies={label: task.policies[label] for label in left},
        static={label: task.static[label] for label in left if label in task.static},
    )
