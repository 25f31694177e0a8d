"""The arms of the bandit: drafts at one fixed length, or lengths of one draft.

A round counts as a pull of its arm only if it ran at the arm's full length. One that the rest of the text had no room
for yields fewer tokens for reasons that are not the arm's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paceline import Capabilities, ConfigError, Fixed, Plan, PolicyState, Requirements, Unsaved

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from paceline import Round, RoundStart


class DraftArms:
    """The paper's main setting: which draft, at a length that never changes.

    `length` is the paper's L, here and of `GammaArms`: no round drafts more, so that it yields 1 to L + 1 tokens.
    """

    kind = "drafts"

    def __init__(self, length: int) -> None:
        self.length = length
        self._full = length  # on this engine

    def requires(self, latency: bool) -> Requirements:
        """Demand that another draft may run every round."""
        return Requirements(draft_switch="round", latency="fused" if latency else "none")

    def open(self, start: RoundStart) -> Mapping[str, Plan]:
        """Return the plan of each arm that is open: every draft, near the end of the text at what length is left."""
        self._full = _nearest(start.capabilities, self.length)
        gamma = _fitting(start, self.length)
        return {draft: Plan(gamma, draft) for draft in start.drafts} if gamma else {}

    def rest(self, start: RoundStart) -> Plan:
        """Decode plainly: there is no draft, or no room for one."""
        return Plan(0)

    def pulled(self, done: Round) -> str | None:
        """Return the draft, if it was asked for the full length."""
        return done.plan.draft if done.plan.gamma == self._full else None

    def knows(self, arm: str) -> bool:
        """Drafts are named by the run file."""
        return True


class GammaArms:
    """The setting of the paper's second experiment: how many tokens, of one draft."""

    kind = "gammas"

    def __init__(self, gammas: tuple[int, ...], draft: str | None) -> None:
        self.length = max(gammas)
        self._gammas = {str(gamma): gamma for gamma in gammas}
        self._draft = draft

    def requires(self, latency: bool) -> Requirements:
        """Demand that gamma 0 be possible if it is an arm."""
        return Requirements(zero_gamma="0" in self._gammas, latency="fused" if latency else "none")

    def open(self, start: RoundStart) -> Mapping[str, Plan]:
        """Offer the gammas that the engine runs and the text has room for."""
        if not start.drafts:
            return {}
        draft, open_now = self._named(start), start.gammas(self.length)
        return {
            arm: Plan(gamma, draft if gamma else None)
            for arm, gamma in self._gammas.items()
            if gamma in open_now
        }

    def rest(self, start: RoundStart) -> Plan:
        """Draft what there is room for: less than the shortest arm."""
        if not start.drafts:
            return Plan(0)
        able = start.capabilities
        if not any(_runs(able, gamma) for gamma in self._gammas.values()):
            raise ConfigError(
                f"none of the gammas {', '.join(self._gammas)} is one that this engine runs; it runs "
                f"{', '.join(map(str, able.gammas or ()))}: list some of these"
            )
        gamma = _fitting(start, start.budget)
        return Plan(gamma, self._named(start) if gamma else None)

    def pulled(self, done: Round) -> str | None:
        """Return the gamma, if it is an arm."""
        arm = str(done.plan.gamma)
        return arm if arm in self._gammas else None

    def knows(self, arm: str) -> bool:
        """Only what is listed is an arm."""
        return arm in self._gammas

    def _named(self, start: RoundStart) -> str:
        if self._draft is None:
            return next(iter(start.drafts))
        if self._draft not in start.drafts:
            raise ConfigError(
                f"option `draft` is {self._draft!r}, but the drafts are: {', '.join(start.drafts)}"
            )
        return self._draft


Arms = DraftArms | GammaArms


@dataclass
class ArmsState(PolicyState):
    """The arms that a state is about: figures of others, or of another L, mean something else."""

    choice: Unsaved[Arms]
    arms: Fixed[str] = field(init=False)
    length: Fixed[int] = field(init=False)

    def __post_init__(self) -> None:
        self.arms, self.length = self.choice.kind, self.choice.length

    def check_arms(self, names: Iterable[str]) -> None:
        """Refuse figures of what is no arm.

        Raises:
            ValueError: A name is not one.
        """
        for name in names:
            if not self.choice.knows(name):
                raise ValueError(f"the saved state is of other options: {name!r} is no arm of this policy")


def _runs(able: Capabilities, gamma: int) -> bool:
    """True if an engine runs this gamma."""
    return able.zero_gamma if gamma == 0 else able.gammas is None or gamma in able.gammas


def _nearest(able: Capabilities, length: int) -> int:
    """Return the largest gamma of an engine that is not above `length`, or its smallest."""
    if able.gammas is None:
        return length
    return max((gamma for gamma in able.gammas if 0 < gamma <= length), default=min(able.gammas))


def _fitting(start: RoundStart, length: int) -> int:
    """Return the gamma nearest to `length` that the engine runs and the budget allows; 0 where there is none."""
    return start.gammas(length)[-1] or next((gamma for gamma in start.gammas(start.budget) if gamma), 0)
