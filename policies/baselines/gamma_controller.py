"""One gamma that is held until a verdict moves it: what policies share that steer by outcomes alone.

A round moves gamma only if it was not ended and proposed something. The gamma that is held says what the policy
would draft if it could; a round near the end of the text drafts fewer tokens and leaves it as it is. On an engine
that runs a fixed set of gammas it never leaves the span of that set, since a counter that ran on where the engine
cannot follow would have to be led all the way back before the engine noticed.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

from pydantic import Field, model_validator

from paceline.core.base_policy import BasePolicy
from paceline.core.config.blocks import PolicyConfig
from paceline.core.records import Plan
from paceline.core.state.declared import Count, PolicyState, Unsaved
from paceline.policies.gamma_scan import largest_at_most
from paceline.policies.options import LARGEST_GAMMA, DraftName, chosen_draft

if TYPE_CHECKING:
    from paceline.core.records import Round, RoundStart, StopRule


class GammaControllerConfig(PolicyConfig):
    """The options of every policy that holds one gamma."""

    first_gamma: int = Field(default=4, ge=1, description="Gamma to start from; `max_gamma` if that is less.")
    min_gamma: int = Field(default=1, ge=1, description="The smallest gamma.")
    max_gamma: int = Field(default=16, ge=1, le=LARGEST_GAMMA, description="The largest gamma.")
    draft: DraftName = None

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.min_gamma > self.max_gamma:
            raise ValueError(
                f"min_gamma is {self.min_gamma} and max_gamma {self.max_gamma}; the smallest gamma may not be above "
                "the largest"
            )
        return self


@dataclass(slots=True)
class GammaState(PolicyState):
    """The gamma that is held, within its bounds."""

    lowest: Unsaved[int]
    highest: Unsaved[int]
    gamma: Count

    def check(self) -> None:
        """Check that gamma is within the bounds."""
        if not self.lowest <= self.gamma <= self.highest:
            raise ValueError(
                f"the saved state is of other options: gamma is {self.gamma}, outside {self.lowest} to {self.highest}; "
                "delete the saved state to start afresh"
            )

    def move(self, gamma: int) -> None:
        """Hold another gamma, or the nearest one within the bounds."""
        self.gamma = min(max(gamma, self.lowest), self.highest)


S = TypeVar("S", bound=GammaState)


class GammaController(BasePolicy[S]):
    """Plans the gamma it holds, as far as engine and budget allow; subclasses say how a verdict moves it."""

    stop: StopRule | None = None

    def __init__(self, config: GammaControllerConfig, state: S) -> None:
        super().__init__(config.name, state)
        self._options = config
        state.move(config.first_gamma)

    @abstractmethod
    def moved(self, accepted: int, drafted: int) -> int:
        """Return the gamma after a round that drafted something and was not ended; it is bounded afterwards."""

    def plan(self, start: RoundStart) -> Plan:
        """Plan the gamma that is held, or the next smaller one that can be run; never 0 where drafting is possible."""
        draft = chosen_draft(start, self._options.draft)
        gammas = start.gammas(self._options.max_gamma)
        if draft is None or gammas[-1] == 0:
            return Plan(0)
        if start.capabilities.gammas is not None:
            self._keep_within(start.capabilities.gammas)
        return Plan(largest_at_most(gammas, self.state.gamma), draft, stop=self.stop)

    def observe(self, done: Round) -> None:
        """Move gamma by a verdict."""
        if done.ended is None and done.drafted:
            self.state.move(self.moved(done.accepted, done.drafted))

    def _keep_within(self, engine_gammas: tuple[int, ...]) -> None:
        span = [
            gamma for gamma in engine_gammas if self._options.min_gamma <= gamma <= self._options.max_gamma
        ]
        if span:
            self.state.gamma = min(max(self.state.gamma, span[0]), span[-1])
