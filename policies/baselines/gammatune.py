"""Grow after full acceptance, and after a refusal fall back to a running mean of what was accepted.

GammaTune (Gautam, Shrestha and Reddy 2025, https://arxiv.org/abs/2504.00030). After a round that drafted d >= 1
tokens, of which m were accepted,

    gamma <- min(gamma + delta, max_gamma)                                          if m = d
    g <- clip((1 - eta) g + eta m, min_gamma, max_gamma),  gamma <- ceil(g)         otherwise.

So gamma probes ahead of the mean as long as all goes well, and one refusal takes it back. With `stop_below`, which
makes it GammaTune+, drafting also ends after the first token whose top-1 probability is below that threshold. The
rule is declared in the plan, so that a device can evaluate it without a copy per token, and the token that triggers
it is verified like every other. A draft that has no such probability, prompt lookup for one, cannot evaluate the
rule and is refused before the first token.

From the paper: both rules and the early stop. Ours: the values of eta (`weight`), delta (`increase`) and the first
gamma; a stop that spares the token which triggered it; that rounds which were ended, or proposed nothing, change
nothing; and gamma + delta where the paper has m + delta. They are the same when gamma tokens were drafted. When
fewer were, because the budget ran out, drafting stopped early or nothing more was found, m + delta could lower
gamma although everything was accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

from pydantic import Field

from paceline.core.records import Requirements, StopRule
from paceline.core.state.declared import Amount
from paceline.policies.baselines.gamma_controller import GammaController, GammaControllerConfig, GammaState

ROUNDING = 1e-9  # a mean of 4 that is stored as 4.0000000000000009 is not a reason to draft 5


class GammatuneConfig(GammaControllerConfig):
    """Probe ahead while everything is accepted, and fall back to a running mean of the accepted tokens."""

    name: Literal["gammatune"] = "gammatune"
    increase: int = Field(
        default=2, ge=1, description="Added to gamma when every draft token was accepted (delta)."
    )
    weight: float = Field(
        default=0.3, gt=0, le=1, description="Weight of the latest refused round in the running mean (eta)."
    )
    stop_below: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Stop drafting after a token whose top-1 probability is below this (GammaTune+); null never stops.",
    )

    def build(self, seed: int = 0) -> GammatunePolicy:
        """Return a fresh policy."""
        return GammatunePolicy(self)


@dataclass(slots=True)
class GammatuneState(GammaState):
    """Gamma, and the running mean g."""

    mean: Amount

    def check(self) -> None:
        """Check that both are within the bounds."""
        GammaState.check(self)
        if not self.lowest <= self.mean <= self.highest:
            raise ValueError(f"the saved state is damaged: mean is {self.mean}, outside the bounds of gamma")


class GammatunePolicy(GammaController[GammatuneState]):
    """Switches between probing ahead and the running mean."""

    def __init__(self, config: GammatuneConfig) -> None:
        state = GammatuneState(config.min_gamma, config.max_gamma, config.first_gamma, 0.0)
        super().__init__(config, state)
        self._increase = config.increase
        self._weight = config.weight
        state.mean = float(state.gamma)
        if config.stop_below is not None:
            self.stop = StopRule("top1", below=config.stop_below)
            self.requires = Requirements(signals=frozenset({"top1"}), draft=config.draft)

    def moved(self, accepted: int, drafted: int) -> int:
        """Return gamma after one verdict; a refusal moves the mean first."""
        if accepted == drafted:
            return self.state.gamma + self._increase
        mean = (1.0 - self._weight) * self.state.mean + self._weight * accepted
        self.state.mean = min(max(mean, float(self._options.min_gamma)), float(self._options.max_gamma))
        return ceil(self.state.mean - ROUNDING)
