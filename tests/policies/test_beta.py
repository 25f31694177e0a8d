"""Draws from a Beta distribution."""

import math
from random import Random

import pytest

from paceline.policies.beta import draw_beta

SHAPES = [(1.5, 1.2), (2.7, 1.3), (1.3, 2.7), (5.0, 5.0), (40.0, 3.0), (3.0, 40.0), (300.0, 200.0)]


def furthest_apart(one, other):
    """Return the statistic of Kolmogorov and Smirnov for two samples of one size."""
    merged = sorted([(value, 1) for value in one] + [(value, -1) for value in other])
    apart = worst = 0
    for _, step in merged:
        apart += step
        worst = max(worst, abs(apart))
    return worst / len(one)


@pytest.mark.parametrize(("right", "wrong"), SHAPES)
def test_draws_are_distributed_as_those_of_the_standard_library(right, wrong):
    random, count = Random(7), 20_000
    mine = [draw_beta(random, right, wrong) for _ in range(count)]
    theirs = [random.betavariate(right, wrong) for _ in range(count)]
    assert furthest_apart(mine, theirs) < 1.95 * math.sqrt(2 / count)  # one in a thousand lies beyond
    assert furthest_apart(
        mine, [value + 0.1 / math.sqrt(right + wrong) for value in theirs]
    ) > 1.95 * math.sqrt(2 / count)


@pytest.mark.parametrize(("right", "wrong"), [*SHAPES, (0.5, 3.0), (1.0, 1.0)])
def test_moments_are_those_of_the_distribution(right, wrong):
    random, count = Random(3), 20_000
    draws = [draw_beta(random, right, wrong) for _ in range(count)]
    mean = sum(draws) / count
    total = right + wrong
    variance = right * wrong / (total * total * (total + 1))
    assert mean == pytest.approx(right / total, abs=5 * math.sqrt(variance / count))
    assert sum((one - mean) ** 2 for one in draws) / count == pytest.approx(variance, rel=0.08)
    assert all(0.0 <= one <= 1.0 for one in draws)


def test_equal_seeds_draw_alike():
    one, other = Random(1), Random(1)
    assert [draw_beta(one, 2.0, 3.0) for _ in range(50)] == [draw_beta(other, 2.0, 3.0) for _ in range(50)]
