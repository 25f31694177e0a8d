"""The price of one kind of work on a machine that changes: followed through noise, stalls and jumps, and aged at rest.

Prices are logarithms of multiples of the machine's speed (`VerifyTimes.speed`), since machines slow down by factors and
what is not in use should move with what is. Timings of one kind of work differ for three reasons. Each carries noise. A
few are stalls: the process lost its core for a moment, and the next timing is as before. And the price itself moves,
for a second or for good. A mean smears a jump over many timings, and a median notices it only when half of them are
new. So deviations are told apart by what follows them:

- one within `ODD` usual deviations is noise: the price moves towards it by an exponentially weighted mean;
- one beyond is set aside. A second one like it in a row, or any third, is a jump, and the price follows at once;
- one set aside and not confirmed by the next timing was a stall, and is forgotten.

That is a CUSUM chart (Page 1954) with the smallest memory that survives a stall. Work that was not done for a while is
believed at once, since much may have changed.

What is not renewed ages. A price that rests goes back to the lowest one held lately, by half for every `HOLD` rounds,
since slow spells end; so what became too dear to use is tried again. Where it is met just as dear it is held for twice
as long, up to `LONGEST_HOLD`: the looks at a price that stays high become rarer and rarer.
"""

from __future__ import annotations

from collections import deque
from statistics import median

PRIOR_DRAFT_SHARE = 0.1
"""A draft token costs this share of a plain step until it was measured: small drafts lie between .03 and .2."""

CATCH_UP = 0.08
"""A lagging token costs this share of a drafted one until measured: it is read in a block, not one by one. On a CPU a
long prompt takes .07 to .08 of that, on a GPU much less."""

ODD = 4.0
"""Usual deviations beyond which a timing is set aside."""

LEAST = 0.15
"""A deviation up to this (15 %) is noise on the calmest machine."""

SPREAD = 0.1
"""The usual deviation until it is known."""

WEIGHT = 0.03
"""Of the latest timing in a price, once some thirty are known."""

SPREADING = 0.1
"""Of the latest deviation in the usual one."""

CONFIRMED = 3
"""Timings set aside in a row that are a jump even if they are not alike."""

LEVELS = 8
"""Prices before the latest jumps that are remembered."""

SETTLED = 3
"""Timings that make a price worth remembering."""

RECENT = 8
"""Rounds for which a price is taken to hold as it was timed."""

MOST_LOG, MOST_COUNT = 50.0, 1e12
"""Bounds of what is kept: logarithms of seconds, and counts."""

HOLD = 32
LONGEST_HOLD = 512
"""Rounds of rest after which a high price is believed half."""

HALF_LIFE = 64
"""Rounds after which the timings of a length that is no longer used count half; the fitted line takes over."""

MEMORY = 15
"""Timings of a length that count as much as any more would."""

FRESH = 64
"""Rounds for which a jump of one length may turn out to have been the machine's."""


class Price:
    """Follows the logarithm of one price.

    Attributes:
        log: The price when it was last timed.
        spread: The usual size of a deviation.
        count: Timings since the last jump.
        odd: Deviations set aside, not yet confirmed.
        seen_at: The round of the last timing.
        settled: Whether it was ever timed often enough to be relied on.
        jumped, jumped_at: Size and round of the last jump.
    """

    __slots__ = (
        "_hold",
        "_lows",
        "count",
        "jumped",
        "jumped_at",
        "log",
        "odd",
        "seen_at",
        "settled",
        "spread",
    )

    def __init__(self) -> None:
        self.log = 0.0
        self.spread = SPREAD
        self.count = 0
        self.odd: list[float] = []
        self.seen_at = 0
        self.jumped, self.jumped_at = 0.0, -RECENT
        self._lows: deque[float] = deque(maxlen=LEVELS)
        self._hold = HOLD
        self.settled = False

    def start(self, log: float, timings: int) -> None:
        """Start from a price that was kept: it is believed, but the first timings move it, and it goes at rest."""
        self.log, self.count = log, min(max(timings, 1), SETTLED)

    @property
    def bound(self) -> float:
        """The largest deviation that is taken for noise."""
        return max(ODD * self.spread, LEAST)

    def at(self, now: int, assumed: float) -> float:
        """Return the price as believed in round `now`.

        A price that was never settled goes back to `assumed` at rest: what was timed first may have been a stall.
        """
        rest = now - self.seen_at - RECENT
        if rest <= 0:
            return self.log
        low = min(self._lows, default=self.log if self.settled else assumed)
        return self.log if self.log <= low else low + (self.log - low) * 0.5 ** (rest / self._hold)

    def follow(self, off: float, now: int, weight: float = WEIGHT) -> None:
        """Take in a deviation that is noise."""
        if self.odd:
            self.doubt()
        self.count += 1
        self.settled |= self.count >= SETTLED
        self.seen_at = now
        self.log += max(weight, 1.0 / (self.count + 1)) * off
        self.spread += SPREADING * (1.25 * abs(off) - self.spread)

    def doubt(self) -> None:
        """Forget what was set aside; the usual deviation grows a little, for it may have been noise after all."""
        self.odd.clear()
        self.spread += 0.5 * SPREADING * (self.bound - self.spread)

    def set_aside(self, off: float) -> float | None:
        """Set a deviation aside; return the size of the jump if it confirms one."""
        self.odd.append(off)
        alike = len(self.odd) > 1 and abs(self.odd[-2] - off) <= self.bound
        if not alike and len(self.odd) < CONFIRMED:
            return None
        return median(self.odd[-2:] if alike else self.odd)

    def jump(self, size: float, now: int) -> None:
        """Move by so much at once, and trust the next few timings more than what was known."""
        before, low, rest = self.log, min(self._lows, default=self.log), now - self.seen_at
        self.log += size
        self._hold_on(before, low, rest)
        if self.count >= SETTLED:
            self._lows.append(before)
        self.count = 1
        self.seen_at = self.jumped_at = now
        self.jumped = size
        self.odd.clear()

    def renew(self, off: float, now: int) -> None:
        """Take in a timing after a rest, whatever it is."""
        if abs(off) > self.bound:
            self.jump(off, now)
            return
        self._hold_on(self.log, min(self._lows, default=self.log), now - self.seen_at)
        self.follow(off, now)

    def _hold_on(self, before: float, low: float, rest: int) -> None:
        """Hold a high price for longer that was met again after it had been believed half."""
        if self.log <= low + max(0.5 * (before - low), self.bound):
            self._hold = HOLD
        elif rest > self._hold:
            self._hold = min(2 * self._hold, LONGEST_HOLD)


class BlockPrice(Price):
    """The price of one block length, at the mean of the contexts it was timed at."""

    __slots__ = ("away", "context", "last_odd", "moved", "moved_at", "timings")

    def __init__(self) -> None:
        super().__init__()
        self.context = 0.0
        self.timings = 0
        self.last_odd = 0.0  # how far off the last timing was, if it was set aside
        self.moved, self.moved_at = 0.0, -FRESH  # size and round of the last jump of its own
        self.away: float | None = None  # the price before that jump

    def returns(self, off: float, alike: float) -> bool:
        """Tell whether a timing lies where the price was before the last jump of its own."""
        if self.away is None or abs(self.away - self.log) <= 2.0 * alike:
            return False
        return abs(self.log + off - self.away) <= alike

    def weight(self, now: int) -> float:
        """Return the timings that count in round `now`."""
        return float(min(self.count, MEMORY) * 0.5 ** ((now - self.seen_at) / HALF_LIFE))


def keep(log: float, *others: float) -> list[float]:
    """Return a logarithm of a price and what goes with it as they are kept, within the bounds of `kept_numbers`."""
    return [min(max(log, -MOST_LOG), MOST_LOG), *(min(other, MOST_COUNT) for other in others)]


def kept_number(value: object, least: float, most: float) -> float:
    """Return a number of a saved cost model.

    Raises:
        ValueError: It is no number within bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"the saved costs are damaged: {value!r} is no number from {least:g} to {most:g}")
    return float(value)


def kept_numbers(values: object, length: int) -> list[float]:
    """Return a logarithm of a price, followed by other numbers of a saved cost model.

    Raises:
        ValueError: They are not so many numbers within bounds.
    """
    if not isinstance(values, list) or len(values) != length:
        raise ValueError(f"the saved costs are damaged: {values!r} are not {length} numbers")
    return [
        kept_number(values[0], -MOST_LOG, MOST_LOG),
        *(kept_number(value, 0.0, MOST_COUNT) for value in values[1:]),
    ]
