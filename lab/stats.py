"""Intervals of ratios and shares over the choice of texts: the same for every command.

A figure is a function of sums over texts. It is worked out again without each text in turn (the jackknife: Tukey 1958;
Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 11). With n texts, values t_i and their mean t',

    se^2 = (n - 1) / n  sum of (t_i - t')^2,        figure +- q se,

q being the quantile of Student's distribution with n - 1 degrees of freedom that leaves 5 % on each side. Ratios are
taken in logarithms, so that a mode and its inverse have the same interval. All that is compared keeps its pairing.

The nominal level is 90 %. On four kinds of made-up texts (calm; of heavy-tailed ratios; most of them 1 and the rest
large; three in ten looping) 20,000 draws of n texts held the ratio of all texts in this share of cases, and the middle
90 % of a percentile bootstrap in that:

    texts            5         8        15        30
    here       .82-.90   .85-.90   .86-.90   .86-.90
    bootstrap  .66-.81   .80-.86   .80-.88   .82-.88

and for the share of a headroom: .88, .88, .89, .90 here. A bootstrap-t held .83-.91 at 5 texts, with intervals up to
three times as long. `tests/lab/test_stats.py` repeats a part of this. Below five texts there is no interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from operator import truediv
from statistics import NormalDist, fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

LEVEL = 0.9

FEWEST = 5
"""With fewer texts there is no interval."""

MINUS = "−"

TOO_FEW = f"too few texts for an interval: it takes {FEWEST}"


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure with its interval; `low` and `high` are None when there are too few texts to tell."""

    value: float
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, float | None]:
        """Return it as JSON-able values."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        """Return it as `1.72 (1.60 to 1.80)`."""
        between = f" ({self.low:.2f} to {self.high:.2f})" if self.low is not None else ""
        return f"{self.value:.2f}{between}"


def estimate(
    figure: Callable[..., float | None], *amounts: Sequence[float], logarithmic: bool = False
) -> Ratio | None:
    """Return a figure with its interval.

    Args:
        figure: From the sum of each amount to its value; None where it has none.
        amounts: One number a text each, in the same order throughout.
        logarithmic: Whether the interval is one of the figure's logarithm, as for ratios.

    Returns:
        None where the figure has no value. No interval where there are fewer than `FEWEST` texts, or where one text
        alone decides whether the figure has a value.
    """
    sums = [math.fsum(amount) for amount in amounts]
    value = figure(*sums)
    if value is None:
        return None
    count = len(amounts[0])
    if count < FEWEST:
        return Ratio(value)
    parts = [
        figure(*(whole - amount[text] for whole, amount in zip(sums, amounts, strict=True)))
        for text in range(count)
    ]
    known = [part for part in parts if part is not None and (part > 0.0 or not logarithmic)]
    if len(known) < count or (logarithmic and value <= 0.0):
        return Ratio(value)
    if logarithmic:
        reach = _reach([math.log(part) for part in known])
        return Ratio(value, value * math.exp(-reach), value * math.exp(reach))
    reach = _reach(known)
    return Ratio(value, value - reach, value + reach)


def speedup(
    tokens: Sequence[float],
    seconds: Sequence[float],
    base_tokens: Sequence[float],
    base_seconds: Sequence[float],
) -> Ratio | None:
    """Return the ratio of tokens a second over those of a base, on the same texts; None where no time passed."""
    return estimate(_faster, tokens, seconds, base_tokens, base_seconds, logarithmic=True)


def captured(base: Sequence[float], other: Sequence[float], best: Sequence[float]) -> Ratio | None:
    """Return the share of the time between `base` and `best` that `other` saves; None where there is none.

    (T_base - T) / (T_base - T_best): 0 is the base, 1 the oracle; below 0, `other` is slower than the base.
    """
    return estimate(_captured, base, other, best)


def spec_bench(
    tokens: Sequence[float],
    seconds: Sequence[float],
    base_tokens: Sequence[float],
    base_seconds: Sequence[float],
) -> float | None:
    """Return Spec-Bench's speed-up: the ratio of the means over texts of tokens a second; None where no time passed.

    Every text counts once, however long it is (https://github.com/hemingkx/Spec-Bench).
    """
    if not seconds or min(*seconds, *base_seconds) <= 0.0:
        return None
    return fmean(map(truediv, tokens, seconds)) / fmean(map(truediv, base_tokens, base_seconds))


def student(freedom: int) -> float:
    """Return the quantile of Student's distribution that leaves half of 1 - `LEVEL` above it.

    The expansion of Abramowitz and Stegun (1964), 26.7.5, right to a thousandth from 4 degrees of freedom on.
    """
    z, v = NormalDist().inv_cdf((1.0 + LEVEL) / 2.0), freedom
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )


def _reach(parts: Sequence[float]) -> float:
    count, mean = len(parts), fmean(parts)
    variance = (count - 1) / count * math.fsum((part - mean) ** 2 for part in parts)
    return student(count - 1) * math.sqrt(variance)


def _faster(tokens: float, seconds: float, base_tokens: float, base_seconds: float) -> float | None:
    return (
        (tokens / seconds) / (base_tokens / base_seconds)
        if min(seconds, base_seconds, base_tokens) > 0
        else None
    )


def _captured(base: float, other: float, best: float) -> float | None:
    way = base - best
    # What rounding leaves of no way at all is none.
    return (base - other) / way if way > 1e-9 * base else None


def times(ratio: Ratio | float | None, digits: int = 2) -> str:
    """Write a ratio as `1.72×`, or nothing where it is unknown."""
    return "" if ratio is None else f"{_value(ratio):.{digits}f}×"


def share(part: Ratio | float | None) -> str:
    """Write a share as `41%`, or nothing where it is unknown."""
    return "" if part is None else f"{_percent(_value(part))}%"


def interval(ratio: Ratio | None) -> str:
    """Write the interval of a ratio as `1.60–1.80`, or nothing where it is unknown."""
    return "" if ratio is None or ratio.low is None else f"{ratio.low:.2f}–{ratio.high:.2f}"


def share_interval(part: Ratio | None) -> str:
    """Write the interval of a share as `31 to 52`, or nothing where it is unknown."""
    if part is None or part.low is None or part.high is None:
        return ""
    return f"{_percent(part.low)} to {_percent(part.high)}"


def _value(ratio: Ratio | float) -> float:
    return ratio.value if isinstance(ratio, Ratio) else ratio


def _percent(value: float) -> str:
    return f"{100 * value:.0f}".replace("-0", "0").replace("-", MINUS)


def html_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table as HTML, for notebooks."""
    head = "".join(f"<th>{escape(name)}</th>" for name in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
