"""Tokens per second as ratios of sums: of the arms of a bandit, and of a way of decoding, window by window."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from paceline.core.state.declared import MAX_AMOUNT, Amount, Count, Fixed, PolicyState, Summed, Unsaved

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paceline.core.records import Round

SMALL_LAG = 32  # lagging tokens that are read in one block with the last one, and hardly take longer
MAX_WEIGHT = (
    2.0**64
)  # far below the largest float, and seldom reached: a discount of .99 takes 4400 rounds to it
KINDS = ("rounds", "gained", "spent")
Weighted = Annotated[float, Field(ge=0, le=MAX_AMOUNT * MAX_WEIGHT)]


@dataclass(slots=True)
class ArmStatistics(PolicyState):
    """Sums of gain and expense of each arm, and the number of rounds they come from.

    The rate of an arm is a ratio of sums, tokens delivered over seconds, never a mean of ratios: the time of a text
    is the sum of the times of its rounds, and a mean of ratios would let short rounds count as much as long ones.

    Discounting lets the past weigh less by a factor d for each round. To age all arms at the price of one, the sums
    are left alone and what is added grows instead: the addition of round t weighs d^-t. Ratios do not notice; counts
    are read divided by the weight of the last addition. Before that weight gets too large for a float, everything is
    divided by it.

    Attributes:
        arms: A name for each arm, as written to saved states and exports.
        discount: Weight of what is known, for each round of age.
    """

    arms: Fixed[list[str]]
    discount: Unsaved[float] = 1.0
    weight: Annotated[float, Field(ge=1, le=2 * MAX_WEIGHT)] = 1.0
    rounds: Summed[list[Weighted]] = field(init=False)
    gained: Summed[list[Weighted]] = field(init=False)
    spent: Summed[list[Weighted]] = field(init=False)

    def __post_init__(self) -> None:
        self.rounds, self.gained, self.spent = ([0.0] * len(self.arms) for _ in KINDS)

    def count(self, arm: int, gained: float, spent: float) -> None:
        """Count one round of an arm, after letting everything known age by one round."""
        self.weight /= self.discount
        self.rounds[arm] += self.weight
        self.gained[arm] += gained * self.weight
        self.spent[arm] += spent * self.weight
        if self.weight > MAX_WEIGHT:
            for sums in (self.rounds, self.gained, self.spent):
                sums[:] = [amount / self.weight for amount in sums]
            self.weight = 1.0

    def rounds_of(self, arm: int) -> float:
        """Return the discounted number of rounds of an arm."""
        return self.rounds[arm] / self.weight

    def total_rounds(self) -> float:
        """Return the discounted number of rounds of all arms."""
        return sum(self.rounds) / self.weight

    def total_spent(self) -> float:
        """Return the discounted expense of all arms."""
        return sum(self.spent) / self.weight

    def rate(self, arm: int) -> float:
        """Return gain over expense of an arm, 0 while nothing was spent."""
        return self.gained[arm] / self.spent[arm] if self.spent[arm] > 0.0 else 0.0

    def statistics(self) -> Iterator[tuple[tuple[str, ...], float]]:
        """Yield the sums as of now, each by its arm and kind."""
        for place, arm in enumerate(self.arms):
            for kind, sums in zip(KINDS, (self.rounds, self.gained, self.spent), strict=True):
                yield (arm, kind), sums[place] / self.weight

    def add_statistic(self, path: Sequence[str], amount: float) -> None:
        """Add to one sum of an arm.

        Raises:
            LookupError: There is no such arm or kind.
        """
        if len(path) != 2 or path[0] not in self.arms or path[1] not in KINDS:
            raise LookupError(path)
        getattr(self, path[1])[self.arms.index(path[0])] += amount * self.weight


def is_rate_sample(done: Round) -> bool:
    """Tell whether tokens and seconds of a round say how fast its plan is.

    A round that was ended took its full time, but the tokens past the cut are missing: it would look slow, and the
    slower the more it drafted. A round that first had to read a prompt, or a long rest, paid once for all rounds to
    come, whichever plan they follow. Both are left out.
    """
    return done.ended is None and done.lag <= SMALL_LAG


WEIGHT = 0.3
"""Weight of the latest window: three windows make up two thirds of the estimate."""


@dataclass(slots=True)
class Window(PolicyState):
    """Sums over the rounds since it was begun."""

    rounds: Count = 0
    tokens: Count = 0
    seconds: Amount = 0.0

    def count(self, done: Round) -> None:
        """Count a round: what it delivered, and all the time it took."""
        self.rounds += 1
        self.tokens += done.emitted
        self.seconds += done.total_s


@dataclass(slots=True)
class Speed(PolicyState):
    """The speed of one way of decoding, as far as it was measured.

    Each window is a ratio of sums, tokens over seconds. The estimate follows the windows by an exponentially weighted
    mean, and its deviation follows how far they lie from it:

        rate <- (1 - a) rate + a w,      deviation <- (1 - a) deviation + a |w - rate| / rate,      a = .3

    so that what is told apart from the other way of decoding is more than the noise of a window.

    Attributes:
        rate: Tokens per second; 0 while nothing was measured.
        latest: Tokens per second of the latest window alone.
        deviation: How far windows lie from the rate, as a share of it.
        context: Tokens of context when it was measured last.
    """

    rate: Amount = 0.0
    latest: Amount = 0.0
    deviation: Amount = 0.0
    context: Count = 0

    def follow(self, window: Window, context: int) -> None:
        """Take in one more window."""
        before = self.rate
        self.replace(window, context)
        if before > 0.0:
            self.rate = before + WEIGHT * (self.latest - before)
            self.deviation += WEIGHT * (abs(self.latest - before) / before - self.deviation)

    def replace(self, window: Window, context: int) -> None:
        """Take a window for the whole truth, after a time without any; how far windows scatter is still known."""
        if window.seconds > 0.0:
            self.rate = self.latest = window.tokens / window.seconds
            self.context = context

    def beats(self, other: Speed, least: float) -> bool:
        """Tell whether this is the faster one, by at least a share and by half of what both scatter.

        It must be faster than the other one's estimate and than its latest window, so that a bad time long past, which
        the estimate still remembers, decides nothing.
        """
        margin = max(least, 0.5 * (self.deviation + other.deviation))
        return other.rate > 0.0 and max(other.rate, other.latest) * (1.0 + margin) < self.rate
