"""Verification time as a function of block length and context, learnt from noisy timings on a machine that changes.

    seconds(length, context) = speed * (level(length) + slope * context)

`speed` says how slow the machine is now against how it was at first. It is measured with every round, whatever its
length, and every timing is divided by it, so that timings of different moments can be compared: a length that was last
timed while another process held the core is not taken to be dear for as long as it is not tried again.

`level` follows the timings of a length as `paceline.core.price` says where there are some, and the line of
`paceline.core.levels` elsewhere.

A jump is the machine's, and moves everything, where the draft of the same round or another length jumped as far, or
where it makes no sense for one length alone. Where the draft did not jump, two lengths must be far apart to tell: were
each token of a block dearer, lengths close together would jump alike. Otherwise it is that length's: blocks became
dearer, or cheaper. Costs come in regimes, so where a length goes back to what it was before its last jump, others that
jumped as it did go back with it. After a jump of the machine that neither the draft nor plain decoding confirmed, plain
decoding, which decides whether to draft at all, is not known until it is timed again (`age`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import exp, inf, log
from statistics import median
from typing import Any

from paceline.core.levels import PRIOR_SLOPE, Level, bound_by_newer, fit_levels
from paceline.core.price import CONFIRMED, FRESH, RECENT, BlockPrice, Price, keep, kept_number, kept_numbers

CONTEXT_RIDGE = 64.0 * 64.0 * 8
"""Spread of contexts (tokens squared) that must be seen before the context slope is trusted half."""

REFIT_CONTEXT = 16
"""Rounds between two looks at the context slope, because changing it touches every length."""

YOUNG = 32
"""Until so many timings are known each one moves the curve."""

REFIT = 4
"""Afterwards one in so many does, because fitting takes as long as a decision."""

LENGTHS = 17
"""Lengths that are fitted before anybody asks for longer ones: blocks of the usual largest gamma."""

SURE = 8
"""Rounds until deviations are judged at all: the first ones warm up caches and kernels."""

UNSURE = 0.7
"""Log of a factor of two, within which the fitted line is right for a length without timings of its own."""

TINY = 1e-12
"""Seconds below which nothing can be told."""

MACHINE = 0.2
"""Weight of the latest timing in the machine's speed: it moves sooner than what one length costs beside others."""

ALIKE = 0.1
"""Jumps of two kinds of work that differ by so much (10 %) are one jump of the machine."""

SLACK = 1.25
"""Factor by which timings may lie off what is plausible."""

RESTED = 16
"""Rounds without a timing after which a length is believed at once."""

STEEPEST = 1e9
"""Seconds a token of context that are kept at most: what is written can be read again."""

LENGTH = re.compile("[1-9][0-9]{0,3}")
"""A block length as it is kept; longer ones are no blocks of drafts."""

APART = 1.5
"""Blocks one of which has so many times the tokens of the other tell a slower machine from dearer tokens."""


@dataclass(frozen=True, slots=True)
class _Odd:
    """A timing far from what was expected, set aside until the next one tells whether it was a stall."""

    length: int
    off: float
    draft_off: float | None

    def joint(self, alike: float) -> bool:
        """Tell whether the draft's time of the same round was off as far."""
        return self.draft_off is not None and abs(self.draft_off - self.off) <= 2.0 * alike


class VerifyTimes:
    """Learns seconds(length, context); lengths count from 1.

    Attributes:
        speed: Seconds now for each second when the curve was new.
    """

    def __init__(self) -> None:
        self.speed = 1.0
        self._machine = Price()
        self._odd: list[_Odd] = []
        # Others jumped since plain decoding was timed, and it may have or not; by how much, and when.
        self._doubtful, self._jumped, self._jumped_at = False, 0.0, 0
        self._lengths: dict[int, BlockPrice] = {}
        self._count = 0
        self._slope = 0.0
        self._sxx = self._sxy = 0.0
        self._levels = self._fit(LENGTHS)
        self._table: tuple[Sequence[float], float, Sequence[float]] = (), 0.0, ()

    def add(self, length: int, context: int, seconds: float, draft_off: float | None = None) -> float:
        """Learn that a block of `length` tokens after `context` tokens took `seconds`.

        Args:
            length: Tokens verified.
            context: Tokens before them.
            seconds: What it took.
            draft_off: log(measured / expected) of the draft that ran in the same round; None when none did.

        Returns:
            The logarithm of the machine's jump that this timing confirmed; 0.0 when there was none.
        """
        self._count += 1
        if seconds <= TINY:
            return 0.0
        price = self._lengths.setdefault(length, BlockPrice())
        expected = self._expected(price, length, context)
        off = log(seconds / expected) if expected > TINY else 0.0
        bound, jump = self._machine.bound, 0.0
        if self._is_first(price, off):
            self._set(price, length, context, seconds)
        elif self._count <= SURE or abs(off) <= bound:
            self._follow(price, length, context, off)
        elif length == 1 and self._doubtful and abs(off + self._jumped) <= max(self._alike, 0.5 * abs(off)):
            self._take_back(off)
            self._follow(price, length, context, 0.0)
            jump = -self._jumped
        elif self._moved_alone(price, length, off, draft_off):
            self._move({length: off})
        else:
            price.last_odd = off
            self._odd.append(_Odd(length, off, draft_off))
            jump = self._conclude()
        self._refit(now=self._count <= YOUNG or abs(off) > bound)
        return jump

    def age(self, length: int) -> float:
        """Return the rounds since a length was timed, or infinity: see `Dated`."""
        price = self._lengths.get(length)
        return inf if price is None or (length == 1 and self._doubtful) else self._count - price.seen_at

    def at(self, length: int, context: int) -> float:
        """Return the expected seconds of a block; 1.0 for a single token when nothing is known."""
        levels, context_s = self.up_to(length, context)
        return levels[length - 1] + context_s

    def up_to(self, longest: int, context: int) -> tuple[Sequence[float], float]:
        """Return the seconds of at least the lengths 1..longest without context, and what `context` adds to each."""
        if len(self._levels) < longest:
            # From the line as it was fitted: what is asked, and when, must not change what is answered.
            more = (self._line.at(n) for n in range(len(self._levels) + 1, longest + 1))
            self._levels = [*self._levels[:-1], *accumulate(more, max, initial=self._levels[-1])]
        known = self._table
        if known[0] is not self._levels or known[1] != self.speed:
            known = self._table = self._levels, self.speed, [self.speed * level for level in self._levels]
        return known[2], self.speed * self._slope * context

    def save(self) -> dict[str, Any]:
        """Return the prices as JSON-able values, in seconds as the machine is now."""
        lengths = {
            str(n): keep(price.log + self._machine.log, price.context, price.timings)
            for n, price in sorted(self._lengths.items())
            if price.timings
        }
        return {"slope": min(self._slope * self.speed, STEEPEST), "lengths": lengths}

    def load(self, saved: object) -> None:
        """Start from prices that were kept; how much they are worth now, the first rounds tell.

        Raises:
            ValueError: They are damaged; nothing is changed.
        """
        if not isinstance(saved, dict) or not isinstance(saved.get("lengths"), dict):
            raise ValueError("the saved costs are damaged: verify is not a mapping of block lengths")  # noqa: TRY004 - callers are promised ValueError
        slope = kept_number(saved.get("slope"), 0.0, STEEPEST)
        lengths = {}
        for key, values in saved["lengths"].items():
            if not (isinstance(key, str) and LENGTH.fullmatch(key)):
                raise ValueError(f"the saved costs are damaged: {str(key)[:20]!r} is no block length")
            log_s, context, timings = kept_numbers(values, 3)
            price = lengths[int(key)] = BlockPrice()
            price.start(log_s, int(timings))
            price.context, price.timings = abs(context), int(max(timings, 2))
        self._lengths, self._slope = lengths, slope
        self._count = SURE
        self._levels = self._fit(LENGTHS)

    def _expected(self, price: BlockPrice, length: int, context: int) -> float:
        if not price.timings:
            price.context = float(context)
            level, context_s = self.up_to(length, context)[0][length - 1], self.speed * self._slope * context
            price.log = log(max((level + context_s) / self.speed, TINY))
        return self.speed * (exp(price.log) + self._slope * (context - price.context))

    def _is_first(self, price: BlockPrice, off: float) -> bool:
        """Tell whether a timing makes the price of its length: its first one, or the second, for the first is slow.

        Not where it lies so far from the fitted line, or from the first one, that the machine may have jumped.
        """
        return price.timings < 2 and (
            self._count <= SURE or abs(off) <= (UNSURE if price.timings else max(UNSURE, self._machine.bound))
        )

    def _moved_alone(self, price: BlockPrice, length: int, off: float, draft_off: float | None) -> bool:
        """Tell whether a timing far off is believed at once, and to be its length's own.

        After a rest; when plain decoding was looked at because it was in doubt; or when it is as far off for the
        second time, while others were as expected in between. Not where the timing before it or the draft was off too.
        """
        if self._odd or (draft_off is not None and abs(draft_off - off) <= 2.0 * self._alike):
            return False
        rested = self._count - price.seen_at > RESTED or (length == 1 and self._doubtful)
        again = abs(off - price.last_odd) <= self._machine.bound
        if not (rested or again):
            return False
        return price.returns(off, self._alike) or (
            self._plausible(length, off) and not self._companions({length}, off)
        )

    def _set(self, price: BlockPrice, length: int, context: int, seconds: float) -> None:
        """Take one timing for the price of its length."""
        price.timings += 1
        price.log, price.context = log(seconds / self.speed), float(context)
        price.count, price.seen_at = price.timings, self._count
        self._doubtful &= length != 1

    def _follow(self, price: BlockPrice, length: int, context: int, off: float) -> None:
        """Take in a timing that is as expected, but for noise."""
        price.timings += 1
        if self._odd:
            self._machine.doubt()
            self._odd.clear()
        price.last_odd = 0.0
        self._learn_context(price, context, off)
        self._machine.follow(off, self._count, MACHINE)
        self.speed = exp(self._machine.log)
        if self._count - price.seen_at > RESTED:
            price.renew(off, self._count)
        else:
            price.follow(off, self._count)
        self._doubtful &= length != 1

    def _refit(self, *, now: bool) -> None:
        if self._count % REFIT_CONTEXT == 0:
            self._slope = max(0.0, self._sxy / (self._sxx + CONTEXT_RIDGE))
        if now or self._count % REFIT == 0:
            self._levels = self._fit(len(self._levels))

    def _learn_context(self, price: BlockPrice, context: int, off: float) -> None:
        """Learn how time grows with context: regression within each length, pooled over them."""
        apart = context - price.context
        level = exp(price.log)
        extra = level * (exp(min(max(off, -0.7), 0.7)) - 1.0) + self._slope * apart
        self._sxx = 0.99 * self._sxx + apart * apart
        self._sxy = 0.99 * self._sxy + apart * extra
        price.context += 0.1 * apart
        price.log = log(max(level + 0.1 * self._slope * apart, TINY))

    def _conclude(self) -> float:
        """Follow a jump once it is confirmed: the machine's, or that of one length."""
        odd, last = self._odd, self._odd[-1]
        if len(odd) < 2:
            return 0.0
        apart = abs(odd[-2].off - last.off)
        if apart > self._machine.bound and len(odd) < CONFIRMED:
            return 0.0
        self._odd = []
        seen = odd[-2:] if apart <= self._machine.bound else odd
        size = median(timing.off for timing in seen)
        lengths = {timing.length for timing in seen}
        joint = all(timing.joint(self._alike) for timing in seen)
        companions = self._companions(lengths, size)
        if not any(self._lengths[n].timings for n in lengths):
            # What was never timed tells that something jumped, and others how far.
            companions = companions or self._moved_lately(size)
            size = median([price.moved for price in companions.values()] or [size])
        together = len(lengths) > 1 and max(abs(timing.off - size) for timing in seen) <= self._alike
        involved = lengths.union(companions)
        if all(timing.draft_off is not None for timing in seen) and max(involved) < APART * min(involved):
            # The draft did not jump, and blocks this alike would jump alike if each of their tokens became dearer.
            together, companions = False, {}
        jump = 0.0
        alone = all(self._plausible(timing.length, timing.off) for timing in seen)
        returns = all(self._lengths[timing.length].returns(timing.off, self._alike) for timing in seen)
        if not returns and (companions or joint or together or not alone):
            jump = size
            if not joint and 1 not in lengths:
                self._doubtful, self._jumped, self._jumped_at = True, size, self._count
            self._machine.jump(size, self._count)
            self.speed = exp(self._machine.log)
            for price in companions.values():
                price.log -= size
                price.moved_at = -FRESH
            for timing in seen:
                price = self._lengths[timing.length]
                price.seen_at, price.last_odd = self._count, 0.0
                if not price.timings:
                    price.log, price.timings = price.log + timing.off - size, 1
        else:
            self._move(
                {n: median(timing.off for timing in seen if timing.length == n) for n in sorted(lengths)}
            )
        return jump

    def _move(self, sizes: dict[int, float]) -> None:
        """Follow lengths that moved, as far as is known, alone."""
        for length, size in sizes.items():
            price = self._lengths[length]
            if price.returns(size, self._alike):
                self._return(sizes, size)
            price.away = price.log
            price.jump(size, self._count)
            price.timings = max(price.timings, 2)
            price.last_odd = 0.0
            price.moved, price.moved_at = size, self._count
            self._doubtful &= length != 1

    def _return(self, timed: Collection[int], size: float) -> None:
        """Let the lengths that moved as one did go back with it, but for those timed since: costs come in regimes."""
        for n, price in self._lengths.items():
            if n in timed or price.away is None or price.seen_at >= self._count - 1:
                continue
            back = price.away - price.log
            if back * size > 0.0:
                price.away = price.log
                price.jump(back, self._count)

    def _take_back(self, off: float) -> None:
        """Undo a jump that plain decoding did not share: what changed are blocks, those timed since at least."""
        self._machine.jump(off, self._count)
        self.speed = exp(self._machine.log)
        for n, price in self._lengths.items():
            if n > 1 and price.seen_at >= self._jumped_at - 1:
                price.jump(-off, price.seen_at)

    def _plausible(self, length: int, size: float) -> bool:
        """Tell whether a length may have moved alone, beside plain decoding and what was timed lately.

        A longer block takes no less time than a shorter one, and no more than its tokens one by one.
        """
        level = self._lengths[length].log + size
        plain = self._lengths.get(1)
        slack = log(SLACK)
        if length > 1 and plain is not None and level > log(length) + plain.log + slack:
            return False
        return not any(
            n < length and price.log > level + slack
            for n, price in self._lengths.items()
            if n == 1 or self._count - price.seen_at <= RECENT
        )

    def _companions(self, lengths: set[int], size: float) -> dict[int, BlockPrice]:
        """Return the other lengths that jumped as far not long ago; none if one was timed since and did not."""
        others = {n: price for n, price in self._lengths.items() if n not in lengths}
        alike = {
            n: price
            for n, price in others.items()
            if price.moved_at > self._count - FRESH and abs(price.moved - size) <= self._alike
        }
        since = min((price.moved_at for price in alike.values()), default=0)
        return alike if all(n in alike for n, price in others.items() if price.seen_at > since) else {}

    def _moved_lately(self, size: float) -> dict[int, BlockPrice]:
        """Return the lengths that jumped a few rounds ago, in the same direction."""
        return {
            n: price
            for n, price in self._lengths.items()
            if price.moved_at >= self._count - RECENT and price.moved * size > 0.0
        }

    @property
    def _alike(self) -> float:
        """Distance up to which two jumps are one."""
        return max(3.0 * self._machine.spread, ALIKE)

    def _fit(self, longest: int) -> list[float]:
        """Return the levels of lengths 1..longest, and keep the line through them for longer ones."""
        plain = self._lengths.get(1)
        if any(n > 1 and price.settled for n, price in self._lengths.items()):
            plain = None  # the line through blocks says more than what is assumed of them
        known = {}
        for n, price in self._lengths.items():
            if price.timings:
                assumed = price.log if plain is None else plain.log + log(1.0 + PRIOR_SLOPE * (n - 1))
                level = exp(price.at(self._count, assumed)) - self._slope * price.context
                known[n] = Level(max(level, 0.0), price.weight(self._count), price.seen_at, price.jumped_at)
        known = bound_by_newer(known, exp(self._machine.bound))
        levels, self._line = fit_levels(known, self._machine.spread, longest)
        return levels
