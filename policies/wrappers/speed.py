"""How fast a way of decoding is: tokens delivered per second of wall time, window by window.

Each window is a ratio of sums, tokens over seconds. The estimate follows the windows by an exponentially weighted mean,
and its deviation follows how far they lie from it:

    rate <- (1 - a) rate + a w,      deviation <- (1 - a) deviation + a |w - rate| / rate,      a = .3

so that what is told apart from the other way of decoding is more than the noise of a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paceline.policies.state import check_count, check_list

if TYPE_CHECKING:
    from paceline.core.records import Round

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
