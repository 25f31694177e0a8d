"""One gamma that is held until a verdict moves it: what policies share that steer by outcomes alone.

A round moves gamma only if it was not ended and proposed something. The gamma that is held says what the policy
would draft if it could; a round near the end of the text drafts fewer tokens and leaves it as it is. On an engine
that runs a fixed set of gammas it never leaves the span of that set, since a counter that ran on where the engine
cannot follow would have to be led all the way back before the engine noticed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from paceline.core.config.blocks import PolicyConfig
from paceline.core.records import Plan
from paceline.policies.gamma_scan import LARGEST, at_most, chosen_draft
from paceline.policies.no_signal_policy import NoSignalPolicy
from paceline.policies.state import check_count, check_header

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.core.records import Round, RoundStart, StopRule

VERSION = 1


class GammaControllerConfig(PolicyConfig):
    """The options of every policy that holds one gamma."""

    first_gamma: int = Field(default=4, ge=1, description="Gamma to start from; `max_gamma` if that is less.")
    min_gamma: int = Field(default=1, ge=1, description="The smallest gamma.")
    max_gamma: int = Field(default=16, ge=1, le=LARGEST, description="The largest gamma.")
    draft: str | None = Field(
        default=None, description="Name of the draft; the first one listed if left out."
    )

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.min_gamma > self.max_gamma:
            raise ValueError(
                f"min_gamma is {self.min_gamma} and max_gamma {self.max_gamma}; the smallest gamma may not be above "
                "the largest"
            )
        return self


class GammaController(NoSignalPolicy, ABC):
    """Plans the gamma it holds, as far as engine and budget allow; subclasses say how a verdict moves it."""

    stop: StopRule | None = None

    def __init__(self, config: GammaControllerConfig) -> None:
        self._options = config
        self._gamma = self._bounded(config.first_gamma)

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
        return Plan(at_most(gammas, self._gamma), draft, stop=self.stop)

    def observe(self, done: Round) -> None:
        """Move gamma by a verdict."""
        if done.ended is None and done.drafted:
            self._gamma = self._bounded(self.moved(done.accepted, done.drafted))

    def state_dict(self) -> dict[str, Any]:
        """Return the gamma that is held."""
        return {"policy": self._options.name, "version": VERSION, "gamma": self._gamma}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a gamma.

        Raises:
            ValueError: The state is damaged, of another policy or version, or outside the bounds; nothing is changed.
        """
        self._gamma = self._read_gamma(state)

    def _read_gamma(self, state: Mapping[str, Any]) -> int:
        check_header(state, self._options.name, VERSION)
        gamma = int(check_count(state.get("gamma"), "gamma", whole=True))
        if gamma != self._bounded(gamma):
            raise ValueError(
                f"the saved state is of other options: gamma is {gamma}, outside {self._options.min_gamma} to "
                f"{self._options.max_gamma}; delete the saved state to start afresh"
            )
        return gamma

    def _bounded(self, gamma: int) -> int:
        return min(max(gamma, self._options.min_gamma), self._options.max_gamma)

    def _keep_within(self, able: tuple[int, ...]) -> None:
        span = [gamma for gamma in able if self._options.min_gamma <= gamma <= self._options.max_gamma]
        if span:
            self._gamma = min(max(self._gamma, span[0]), span[-1])
