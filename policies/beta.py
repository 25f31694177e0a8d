"""Draws from a Beta distribution, exactly, in little more than half the time of `random.betavariate`.

Algorithm BB of Cheng 1978 ("Generating beta variates with nonintegral shape parameters",
https://doi.org/10.1145/359460.359482): a rejection from a log-logistic envelope, for parameters that are both above 1,
as those of a posterior with any evidence are. Others are left to the standard library.
"""

from __future__ import annotations

from math import exp, log, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

LOG_4 = log(4.0)
ONE_PLUS_LOG_5 = 1.0 + log(5.0)


def draw_beta(random: Random, right: float, wrong: float) -> float:
    """Return one draw from Beta(right, wrong)."""
    if right <= 1.0 or wrong <= 1.0:
        return random.betavariate(right, wrong)
    less, more = (right, wrong) if right < wrong else (wrong, right)
    total = right + wrong
    scale = sqrt((total - 2.0) / (2.0 * right * wrong - total))
    offset = less + 1.0 / scale
    uniform = random.random
    while True:
        first = uniform()
        second = uniform()
        if not first or not second:
            continue
        odds = scale * log(first / (1.0 - first))
        weight = less * exp(odds)
        product = first * first * second
        envelope = offset * odds - LOG_4
        surplus = less + envelope - weight
        if surplus + ONE_PLUS_LOG_5 >= 5.0 * product:
            break
        limit = log(product)
        if surplus > limit or envelope + total * log(total / (more + weight)) >= limit:
            break
    share = weight / (more + weight)
    return share if right < wrong else 1.0 - share
