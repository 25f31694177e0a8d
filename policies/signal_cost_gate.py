"""Gate on a draft's probabilities: they are looked at only where stopping early can pay for it.

Asking a draft for the probability of each token costs time, on a GPU a wait for the device. What stopping early can
save is the time of tokens that would have been refused: little, where the draft is cheap. They are asked for if

    a token of the draft costs at least 0.15 of a plain step, and
    asking makes a token at most 1.12 times as dear,

both as measured: the first rounds of a draft go without, so that there is something to compare with, and one round in
64 goes the other way. In simulations on recorded texts, stopping early gained about 2 % where a token cost 0.19 of a
plain step, and nothing where it cost 0.06.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from paceline.core.state.declared import Amount, Count, PolicyState

if TYPE_CHECKING:
    from paceline.core.records import Round, RoundStart

LEAST_PRICE = 0.15  # lies between the two prices at which stopping early was tried, 0.06 and 0.19
MOST_SLOWDOWN = 1.12  # twice the noise of a token's time, and about what asking takes on a CPU
FIRST_ROUNDS = 4  # of a new draft, which go without: the first few are slow, and their mean must settle
TRIAL_EVERY = 64  # rounds, so that a trial that goes wrong is lost in the rest
WEIGHT = 0.2  # of the latest round in the mean time of a token


@dataclass(slots=True)
class TokenTimes(PolicyState):
    """Mean seconds of one draft's tokens, without and with a look at their probabilities, and the rounds so far."""

    rounds: Count = 0
    without_s: Amount = 0.0
    with_s: Amount = 0.0


@dataclass(slots=True)
class SignalCostGate(PolicyState):
    """Compares, for each draft, the time of a token without and with its probabilities."""

    times: defaultdict[str, TokenTimes] = field(default_factory=partial(defaultdict, TokenTimes))

    def worth_it(self, start: RoundStart, draft: str) -> bool:
        """Tell whether to ask this draft for probabilities in the round that starts now."""
        times = self.times[draft]
        if times.rounds < FIRST_ROUNDS or start.costs.draft_s(draft, 1) < LEAST_PRICE * start.costs.verify_s(
            1, start.context
        ):
            return False
        bearable = times.with_s <= MOST_SLOWDOWN * times.without_s
        return not bearable if times.rounds % TRIAL_EVERY == 0 else bearable

    def observe(self, done: Round) -> None:
        """Note how long a token took; a round that had to catch up says nothing about that."""
        draft = done.plan.draft
        if draft is None or not done.drafted or done.lag > 1 or done.tree is not None:
            return
        times = self.times[draft]
        times.rounds += 1
        token_s = done.draft_s / done.drafted
        if done.signals:
            times.with_s += (token_s - times.with_s) * (WEIGHT if times.with_s else 1.0)
        else:
            times.without_s += (token_s - times.without_s) * (WEIGHT if times.without_s else 1.0)
