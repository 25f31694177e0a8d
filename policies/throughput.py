"""Tokens per second as ratios of sums: of the arms of a bandit, and of a way of decoding, window by window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paceline.policies.state import check_count, check_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.records import Round

READ_ALONG = 32  # lagging tokens that are read in one block with the last one, and hardly take longer
HEAVY = 2.0**64  # far below the largest float, and seldom reached: a discount of .99 takes 4400 rounds to it
KINDS = ("rounds", "gained", "spent")


class Rates:
    """Sums of gain and expense of each arm, and the number of rounds they come from.

    The rate of an arm is a ratio of sums, tokens delivered over seconds, never a mean of ratios: the time of a text
    is the sum of the times of its rounds, and a mean of ratios would let short rounds count as much as long ones.

    Discounting lets the past weigh less by a factor d for each round. To age all arms at the price of one, the sums
    are left alone and what is added grows instead: the addition of round t weighs d^-t. Ratios do not notice; counts
    are read divided by the weight of the last addition. Before that weight gets too large for a float, everything is
    divided by it.

    Args:
        arms: A name for each arm, as written to saved states and exports.
        discount: Weight of what is known, for each round of age.
    """

    __slots__ = ("_arms", "_discount", "_sums", "_weight")

    def __init__(self, arms: Sequence[str], discount: float = 1.0) -> None:
        self._arms = list(arms)
        self._discount = discount
        self._weight = 1.0
        self._sums = {kind: [0.0] * len(arms) for kind in KINDS}

    def add(self, arm: int, gained: float, spent: float) -> None:
        """Count one round of an arm, after letting everything known age by one round."""
        self._weight /= self._discount
        self._put(arm, (1.0, gained, spent))
        if self._weight > HEAVY:
            self._sums = {kind: [one / self._weight for one in sums] for kind, sums in self._sums.items()}
            self._weight = 1.0

    def rounds(self, arm: int | None = None) -> float:
        """Return the discounted number of rounds of an arm, or of all of them."""
        rounds = self._sums["rounds"]
        return (sum(rounds) if arm is None else rounds[arm]) / self._weight

    def spent(self) -> float:
        """Return the discounted expense of all arms."""
        return sum(self._sums["spent"]) / self._weight

    def rate(self, arm: int) -> float:
        """Return gain over expense of an arm, 0 while nothing was spent."""
        spent = self._sums["spent"][arm]
        return self._sums["gained"][arm] / spent if spent > 0.0 else 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the sums as they are kept, so that a restored instance goes on with the very same numbers."""
        return {
            "arms": list(self._arms),
            "weight": self._weight,
            "sums": [list(self._sums[kind]) for kind in KINDS],
        }

    def load_state_dict(self, state: object) -> None:
        """Take over sums.

        Raises:
            ValueError: The state is damaged or of other arms; nothing is changed.
        """
        if not isinstance(state, dict):
            raise ValueError("the saved state is damaged: rates is not a mapping")  # noqa: TRY004 - callers are promised ValueError
        if state.get("arms") != self._arms:
            raise ValueError(
                f"the saved state is of other options: its arms are {state.get('arms')!r}, those of this policy "
                f"{self._arms!r}; delete the saved state to start afresh"
            )
        weight = check_count(state.get("weight"), "weight")
        if weight < 1.0:
            raise ValueError(f"the saved state is damaged: weight is {weight!r}, not at least 1")
        lists = check_list(state.get("sums"), "sums", length=len(KINDS))
        self._sums = {
            kind: [
                float(check_count(one, f"a sum of {kind}"))
                for one in check_list(sums, kind, length=len(self._arms))
            ]
            for kind, sums in zip(KINDS, lists, strict=True)
        }
        self._weight = float(weight)

    def export(self) -> dict[str, float]:
        """Return the sums that are not 0 as of now, under keys "arm/kind"."""
        return {
            f"{arm}/{kind}": self._sums[kind][i] / self._weight
            for i, arm in enumerate(self._arms)
            for kind in KINDS
            if self._sums[kind][i]
        }

    def absorb(self, statistics: Mapping[str, float]) -> None:
        """Add the sums of another instance with the same arms.

        Raises:
            ValueError: A key or a number is not one that `export` writes; nothing is changed.
        """
        known = {f"{arm}/{kind}": (kind, i) for i, arm in enumerate(self._arms) for kind in KINDS}
        for key, amount in statistics.items():
            if key not in known:
                raise ValueError(
                    f"{key!r} is no statistic of these arms; keys look like {next(iter(known))!r}"
                )
            check_count(amount, key)
        for key, amount in statistics.items():
            kind, i = known[key]
            self._sums[kind][i] += amount * self._weight

    def replace(self, statistics: Mapping[str, float]) -> None:
        """Put the sums of a group in the place of all that is known.

        Raises:
            ValueError: As `absorb`; nothing is changed.
        """
        before, weight = self._sums, self._weight
        self._sums, self._weight = {kind: [0.0] * len(self._arms) for kind in KINDS}, 1.0
        try:
            self.absorb(statistics)
        except ValueError:
            self._sums, self._weight = before, weight
            raise

    def _put(self, arm: int, amounts: tuple[float, float, float]) -> None:
        for kind, amount in zip(KINDS, amounts, strict=True):
            self._sums[kind][arm] += amount * self._weight


def tells_rate(done: Round) -> bool:
    """Tell whether tokens and seconds of a round say how fast its plan is.

    A round that was ended took its full time, but the tokens past the cut are missing: it would look slow, and the
    slower the more it drafted. A round that first had to read a prompt, or a long rest, paid once for all rounds to
    come, whichever plan they follow. Both are left out.
    """
    return done.ended is None and done.lag <= READ_ALONG


WEIGHT = 0.3
"""Weight of the latest window: three windows make up two thirds of the estimate."""


@dataclass(slots=True)
class Window:
    """Sums over the rounds since it was begun."""

    rounds: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def add(self, done: Round) -> None:
        """Count a round: what it delivered, and all the time it took."""
        self.rounds += 1
        self.tokens += done.emitted
        self.seconds += done.total_s

    def state(self) -> list[float]:
        """Return the sums."""
        return [self.rounds, self.tokens, self.seconds]


@dataclass(slots=True)
class Speed:
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

    rate: float = 0.0
    latest: float = 0.0
    deviation: float = 0.0
    context: int = 0

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

    def state(self) -> list[float]:
        """Return everything known."""
        return [self.rate, self.latest, self.deviation, self.context]


def read_window(saved: object, what: str) -> Window:
    """Return the window of a saved state.

    Raises:
        ValueError: The state is damaged.
    """
    rounds, tokens, seconds = check_list(saved, what, length=3)
    return Window(
        int(check_count(rounds, f"the rounds of {what}", whole=True)),
        int(check_count(tokens, f"the tokens of {what}", whole=True)),
        float(check_count(seconds, f"the seconds of {what}")),
    )


def read_speed(saved: object, what: str) -> Speed:
    """Return the speed of a saved state.

    Raises:
        ValueError: The state is damaged.
    """
    rate, latest, deviation, context = check_list(saved, what, length=4)
    return Speed(
        float(check_count(rate, f"the rate of {what}")),
        float(check_count(latest, f"the latest rate of {what}")),
        float(check_count(deviation, f"the deviation of {what}")),
        int(check_count(context, f"the context of {what}", whole=True)),
    )
