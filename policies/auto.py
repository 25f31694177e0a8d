"""The default: every choice by measurement.

`auto` is `ev-stop` with `listen: measured`, under a name of its own:

- which draft, how far, or none at all, and when to look again at what is not in use: `survival`, with all drafts judged
  by what they would have made of a round, and prompt lookup by the length of its match;
- when to stop early: `ev-stop`, listening to a draft only where that can pay
  (`paceline.policies.signal_cost_gate`);
- what all that costs on this machine, now: the cost model (`paceline.core.costs`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from paceline.policies.ev_stop import EvStopPolicy
from paceline.policies.signal_cost_gate import SignalCostGate
from paceline.policies.state import check_header
from paceline.policies.survival import SurvivalOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 2


class AutoConfig(SurvivalOptions):
    """Choose draft, length and when to draft at all by measurement; needs no tuning."""

    name: Literal["auto"] = "auto"

    def build(self, seed: int = 0) -> AutoPolicy:
        """Return a fresh policy."""
        return AutoPolicy(self)


class AutoPolicy(EvStopPolicy):
    """An `ev-stop` that listens where it pays, and whose counts can be merged."""

    timed = False

    def __init__(self, config: SurvivalOptions) -> None:
        super().__init__(config, SignalCostGate())

    def state_dict(self) -> dict[str, Any]:
        """Return everything that was learnt."""
        return {"policy": "auto", "version": VERSION, "stopping": super().state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over everything.

        Raises:
            ValueError: The state is damaged, or of another policy or version; nothing is changed.
        """
        check_header(state, "auto", VERSION)
        inner = state.get("stopping")
        if not isinstance(inner, dict):
            raise ValueError("the saved state is damaged: stopping is not a mapping")  # noqa: TRY004 - callers are promised ValueError
        super().load_state_dict(inner)

    def export(self) -> dict[str, float]:
        """Return the counts of acceptance, as `survival` does; times are this machine's own."""
        return self.survival.export()

    def absorb(self, statistics: Mapping[str, float]) -> None:
        """Add the counts of another instance.

        Raises:
            ValueError: A key or a number is not one that `export` writes; nothing is changed.
        """
        self.survival.absorb(statistics)

    def replace(self, statistics: Mapping[str, float]) -> None:
        """Put the counts of a group in the place of this policy's own.

        Raises:
            ValueError: As `absorb`; nothing is changed.
        """
        self.survival.replace(statistics)
