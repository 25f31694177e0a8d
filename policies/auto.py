"""The default: every choice by measurement.

`auto` is `ev-stop` with `listen: measured`, under a name of its own:

- which draft, how far, or none at all, and when to look again at what is not in use: `survival`, with all drafts judged
  by what they would have made of a round, and prompt lookup by the length of its match;
- when to stop early: `ev-stop`, listening to a draft only where that can pay
  (`paceline.policies.signal_cost_gate`);
- what all that costs on this machine, now: the cost model (`paceline.core.costs`).
"""

from __future__ import annotations

from typing import Literal

from paceline.policies.ev_stop import EvStopPolicy
from paceline.policies.signal_cost_gate import SignalCostGate
from paceline.policies.survival import SurvivalOptions, SurvivalPolicy


class AutoConfig(SurvivalOptions):
    """Choose draft, length and when to draft at all by measurement; needs no tuning."""

    name: Literal["auto"] = "auto"

    def build(self, seed: int = 0) -> EvStopPolicy:
        """Return a fresh policy."""
        return EvStopPolicy(self.name, SurvivalPolicy(self), SignalCostGate())
