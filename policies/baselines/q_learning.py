"""A table of what each gamma is worth after each kind of round, learnt by Q-learning.

State s: the size of the last gamma (0, 1, 2-3, 4-7, 8-15, or more) with the outcome of its round: no draft token
accepted, some, or all. A request starts as after a round of gamma 0. Action a: one of the gammas. Reward: with pace,
the tokens per second of the last rounds,

    r = tokens - pace * seconds,

the tokens that the round delivered beyond what its time is worth. After a round that led from s to s',

    Q(s, a) <- Q(s, a) + w (r + d max_b Q(s', b) - Q(s, a)),     w = max(learning_rate, 1 / visits of (s, a)),

and the next action is argmax_a Q(s, a), the smallest gamma among equals, or with probability
e = max(least_exploration, exploration * decay^rounds) any gamma that can be run. At first each gamma is tried once,
smallest first.

That "a Q-learning agent" may choose gamma, from a simplified table, is one of the alternatives of section 4.2 of the
ACL 2025 paper that `online` follows (https://aclanthology.org/2025.acl-long.482). It is described in prose only:
state, actions, reward and schedule are our reading. There it had the highest acceptance and the lowest throughput of
the methods compared, because it kept gamma small; a reward of tokens per second gives it no reason to. The rule is
that of Watkins and Dayan (1992, https://doi.org/10.1007/BF00992698). Ours: the reward is a difference and not tokens
/ seconds, because the mean of such ratios is not the speed of a text, whereas rounds better than the pace raise the
pace; a cell that was never visited borrows the value of its gamma over all states, without which some hundred cells
would have to be tried one by one; a mean until 1 / visits falls to the learning rate.

Rounds that were ended teach nothing and end the chain. A round that another policy planned, or that read a long lag
first (see `is_rate_sample`), changes the state but not the table. Where engine and budget leave no arm, the largest
possible gamma below them is planned.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from paceline.core.base_policy import BasePolicy
from paceline.core.records import Requirements
from paceline.core.state.declared import MAX_AMOUNT, Count, Fixed, PolicyState, Unsaved
from paceline.policies.baselines.gamma_arms import GammaArmsConfig, arm_of, open_arms, plan_arm
from paceline.policies.throughput import ArmStatistics, is_rate_sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.records import Plan, Round, RoundStart


@dataclass(slots=True)
class Values(PolicyState):
    """Values of actions in states; the row past the last state is for all states together.

    A cell that was never visited borrows from its column.
    """

    states: Unsaved[int]
    actions: Unsaved[int]
    values: list[list[Annotated[float, Field(ge=-MAX_AMOUNT, le=MAX_AMOUNT)]]] = field(init=False)
    visits: list[list[Count]] = field(init=False)

    def __post_init__(self) -> None:
        self.values = [[0.0] * self.actions for _ in range(self.states + 1)]
        self.visits = [[0] * self.actions for _ in range(self.states + 1)]

    def of(self, state: int, action: int) -> float:
        """Return the value of an action, 0 while it was never taken anywhere."""
        return self.values[state if self.visits[state][action] else -1][action]

    def tried(self, action: int) -> bool:
        """Tell whether an action was taken in any state."""
        return self.visits[-1][action] > 0

    def best(self, state: int) -> float:
        """Return the value of the best action."""
        return max(self.of(state, action) for action in range(self.actions))

    def learn(self, state: int, action: int, worth: float, least_weight: float) -> None:
        """Move a value by 1 / visits, or `least_weight` if that is more, towards what the action was worth now."""
        for row in (state, -1):
            self.visits[row][action] += 1
            weight = max(least_weight, 1.0 / self.visits[row][action])
            self.values[row][action] += weight * (worth - self.values[row][action])


SIZES = 6  # of gamma: its bit length, at most 5
OUTCOMES = 3  # nothing accepted, some, all
PACE_DISCOUNT = 0.99  # the pace is that of about a hundred rounds


class QLearningConfig(GammaArmsConfig):
    """Learn what each gamma is worth after each kind of round, and plan the one worth most."""

    name: Literal["q-learning"] = "q-learning"
    learning_rate: float = Field(
        default=0.02, gt=0, le=1, description="Least weight of a new experience; the first ones weigh more."
    )
    discount: float = Field(default=0.5, ge=0, lt=1, description="Weight of what the next round is worth.")
    exploration: float = Field(
        default=0.3, ge=0, le=1, description="Share of rounds with a random gamma, at first."
    )
    decay: float = Field(
        default=0.99, gt=0, le=1, description="Factor on that share for each round that taught something."
    )
    least_exploration: float = Field(
        default=0.02, ge=0, le=1, description="Share of rounds with a random gamma, in the end."
    )

    def build(self, seed: int = 0) -> QLearningPolicy:
        """Return a fresh policy whose random gammas follow from `seed`."""
        return QLearningPolicy(self, seed)


@dataclass(slots=True)
class QLearningState(PolicyState):
    """The table, the pace, and the kind of the last round.

    Attributes:
        taught: Rounds that changed the table.
    """

    gammas: Fixed[tuple[int, ...]]
    values: Values
    pace: ArmStatistics
    random: Random
    taught: Count = 0
    state: Annotated[int, Field(ge=0, lt=SIZES * OUTCOMES)] = 0


class QLearningPolicy(BasePolicy[QLearningState]):
    """Keeps the table, the kind of the last round, and the pace."""

    requires = Requirements(latency="fused")
    version = 2

    def __init__(self, config: QLearningConfig, seed: int = 0) -> None:
        values = Values(SIZES * OUTCOMES, len(config.gammas))
        pace = ArmStatistics(["all"], PACE_DISCOUNT)
        super().__init__("q-learning", QLearningState(config.gammas, values, pace, Random(seed)))
        self._config = config

    def plan(self, start: RoundStart) -> Plan:
        """Plan the gamma worth most in this state, or now and then any."""
        if start.index == 0:
            self.state.state = 0
        arms = open_arms(start, self._config.gammas)
        arm, reason = self._choose(arms) if arms else (None, None)
        return plan_arm(start, self._config, arm, reason)

    def observe(self, done: Round) -> None:
        """Change the table by the reward of the round, and go over to the next state."""
        arm = arm_of(done, self._config.gammas)
        before, self.state.state = self.state.state, state_after(done)
        if not is_rate_sample(done):
            return
        if arm is not None and self.state.pace.total_rounds():
            reward = done.emitted - self.state.pace.rate(0) * done.total_s
            worth = reward + self._config.discount * self.state.values.best(self.state.state)
            self.state.values.learn(before, arm, worth, self._config.learning_rate)
            self.state.taught += 1
        self.state.pace.count(0, done.emitted, done.total_s)

    def _choose(self, arms: Sequence[int]) -> tuple[int, str | None]:
        """Return an arm never taken, or any with the probability of the moment, or the one worth most; and why."""
        options = self._config
        share = max(options.least_exploration, options.exploration * options.decay**self.state.taught)
        drawn = self.state.random.random()
        new = next((arm for arm in arms if not self.state.values.tried(arm)), None)
        if new is not None:
            return new, "warm-up"
        if drawn < share:
            return arms[int(drawn / share * len(arms))], "random"
        return max(arms, key=lambda arm: self.state.values.of(self.state.state, arm)), None


def state_after(done: Round) -> int:
    """Return the number of the state that a round leads to; an ended one leads back to the first."""
    if done.ended is not None:
        return 0
    size = min(done.plan.gamma.bit_length(), SIZES - 1)
    outcome = 0 if not done.accepted else 1 + (done.accepted == done.drafted)
    return size * OUTCOMES + outcome
