"""The default: every choice by measurement.

`auto` puts together what stands on its own elsewhere:

- which draft, how far, or none at all: `survival`, with all drafts judged by what they would have made of a round, and
  prompt lookup by the length of its match;
- when to stop early: `ev-stop`, listening to a draft only where that can pay (`paceline.policies.estimate.listening`);
- whether all that is of use: `gate`, which looks at nothing but the tokens delivered per second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from paceline.policies.estimate.ev_stop import EvStopPolicy
from paceline.policies.estimate.listening import Listening
from paceline.policies.estimate.options import SurvivalOptions
from paceline.policies.state import check_header
from paceline.policies.wrappers.gate import GateConfig, GatePolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.core.records import Plan, Requirements, Round, RoundStart, Signal, TokenSignals

VERSION = 1


class AutoConfig(SurvivalOptions):
    """Choose draft, length and when to draft at all by measurement; needs no tuning."""

    name: Literal["auto"] = "auto"

    def build(self, seed: int = 0) -> AutoPolicy:
        """Return a fresh policy."""
        return AutoPolicy(self)


class AutoPolicy:
    """A gate before an `ev-stop` that listens where it pays."""

    timed = False

    def __init__(self, config: SurvivalOptions) -> None:
        self._stopping = EvStopPolicy(config, Listening())
        # What is inside knows when not to draft, as far as its measurements go; the gate is for when they mislead.
        self._gate = GatePolicy(GateConfig(policy=config, window=64, margin=0.1), self._stopping)

    @property
    def needs(self) -> frozenset[Signal]:
        """The drafts' probabilities, where they are worth their time."""
        return self._gate.needs

    @property
    def requires(self) -> Requirements:
        """Costs fitted to the times of rounds, and rounds without drafting."""
        return self._gate.requires

    def plan(self, start: RoundStart) -> Plan:
        """Choose draft and gamma, or neither."""
        return self._gate.plan(start)

    def keep(self, signals: TokenSignals) -> bool:
        """Tell whether another token is worth its time."""
        return self._gate.keep(signals)

    def observe(self, done: Round) -> None:
        """Learn from the round."""
        self._gate.observe(done)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that was learnt."""
        return {"policy": "auto", "version": VERSION, "gate": self._gate.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over everything.

        Raises:
            ValueError: The state is damaged, or of another policy or version; nothing is changed.
        """
        check_header(state, "auto", VERSION)
        inner = state.get("gate")
        if not isinstance(inner, dict):
            raise ValueError("the saved state is damaged: gate is not a mapping")  # noqa: TRY004 - callers are promised ValueError
        self._gate.load_state_dict(inner)

    def export(self) -> dict[str, float]:
        """Return the counts of acceptance, as `survival` does; times are this machine's own."""
        return self._stopping.survival.export()

    def absorb(self, statistics: Mapping[str, float]) -> None:
        """Add the counts of another instance.

        Raises:
            ValueError: A key or a number is not one that `export` writes; nothing is changed.
        """
        self._stopping.survival.absorb(statistics)

    def replace(self, statistics: Mapping[str, float]) -> None:
        """Put the counts of a group in the place of this policy's own; what the gate measured stays.

        Raises:
            ValueError: A key or a number is not one that `export` writes; nothing is changed.
        """
        self._stopping.survival.replace(statistics)
