"""AdaEDL: stop drafting once an entropy bound on acceptance falls below a threshold that follows the rounds.

"AdaEDL: Early Draft Stopping for Speculative Decoding of Large Language Models via an Entropy-based Lower Bound on
Token Acceptance Probability" (https://arxiv.org/abs/2410.18351). With H(q) the entropy of the draft in nats and g a
constant, the probability that a draft token is accepted is estimated from below by 1 - sqrt(g H(q)), and drafting stops
where

    1 - sqrt(g H(q)) < lambda,    that is    H(q) > (1 - lambda)^2 / g    for lambda <= 1.

After each round of m tokens accepted out of those drafted, the rate r of acceptance and then lambda are moved:

    r       <- b1 r + (1 - b1) m / drafted
    lambda' =  lambda + eps    if r < target;
               lambda - eps    if r >= target and fewer than gamma tokens were accepted;
               lambda          if a full block was accepted, for longer drafts are not allowed anyway
    lambda  <- b2 lambda + (1 - b2) lambda'

with g = 0.2, target 0.9, b1 = 0.5, b2 = 0.9 and eps = 0.01. The update is that of "Draft & Verify"
(https://arxiv.org/abs/2309.08168). One round so moves lambda by 0.001 at most.

From the source: rule, update and constants. Our reading: gamma is the planned one, which near the end of a text is
less than `max_gamma`; the token that triggers the rule is verified. Ours: the lambda to start from; the rate starts
at the target; rounds that were ended or proposed nothing move nothing, their share of acceptance being unknown;
lambda stays within 0 and 1, where it would otherwise run on and take as many rounds to come back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from paceline.core.records import StopRule
from paceline.core.state.declared import PolicyState, Share
from paceline.policies.baselines.threshold_policy import ThresholdConfig, ThresholdPolicy

if TYPE_CHECKING:
    from paceline.core.records import Round


class AdaEdlConfig(ThresholdConfig):
    """Draft until an entropy bound falls below a threshold, which is kept where enough tokens are accepted."""

    name: Literal["adaedl"] = "adaedl"
    first_threshold: float = Field(default=0.4, ge=0, le=1, description="Lambda to start from.")
    factor: float = Field(
        default=0.2, gt=0, allow_inf_nan=False, description="Entropy factor (g): how fast the bound falls."
    )
    target: float = Field(
        default=0.9, gt=0, le=1, description="Share of drafted tokens that shall be accepted."
    )
    rate_memory: float = Field(
        default=0.5, ge=0, lt=1, description="Weight of the past in the rate of acceptance (b1)."
    )
    threshold_memory: float = Field(default=0.9, ge=0, lt=1, description="Weight of the past in lambda (b2).")
    step: float = Field(default=0.01, ge=0, le=1, description="How far a round moves lambda before b2 (eps).")

    def build(self, seed: int = 0) -> AdaEdlPolicy:
        """Return a fresh policy."""
        return AdaEdlPolicy(self)


@dataclass(slots=True)
class AdaEdlState(PolicyState):
    """The rate of acceptance r, and lambda."""

    rate: Share
    threshold: Share


class AdaEdlPolicy(ThresholdPolicy[AdaEdlState]):
    """A threshold on the entropy that follows from the lambda of the moment."""

    def __init__(self, config: AdaEdlConfig) -> None:
        self._config = config
        state = AdaEdlState(config.target, config.first_threshold)
        super().__init__(config, state, self._declared(state.threshold))

    @property
    def threshold(self) -> float:
        """The lambda of the moment."""
        return self.state.threshold

    def observe(self, done: Round) -> None:
        """Move the rate of acceptance, then lambda."""
        if done.ended is not None or not done.drafted:
            return
        options, state, old = self._config, self.state, self.state.threshold
        state.rate += (1.0 - options.rate_memory) * (done.accepted / done.drafted - state.rate)
        if state.rate < options.target:
            proposed = old + options.step
        elif done.accepted < done.plan.gamma:
            proposed = old - options.step
        else:
            proposed = old
        moved = old + (1.0 - options.threshold_memory) * (proposed - old)
        state.threshold = min(max(moved, 0.0), 1.0)
        self.refresh()

    def refresh(self) -> None:
        """Declare the rule that follows from lambda."""
        self.rule = self._declared(self.state.threshold)

    def _declared(self, threshold: float) -> StopRule:
        return StopRule("entropy", above=(1.0 - threshold) ** 2 / self._config.factor)
