"""Intervals over texts: worked out by hand, and how often they hold."""

import math
import random
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.lab.stats import FEWEST, captured, speedup, student

seconds = st.lists(st.floats(0.01, 100), min_size=12, max_size=12)


def ratio(base, other):
    """Return how many times faster `other` is than `base`, where both wrote the same tokens."""
    tokens = [10.0] * len(base)
    return speedup(tokens, other, tokens, base)


@pytest.mark.parametrize(("freedom", "quantile"), [(4, 2.1318), (7, 1.8946), (14, 1.7613), (29, 1.6991)])
def test_students_quantiles_are_those_of_the_tables(freedom, quantile):
    assert student(freedom) == pytest.approx(quantile, rel=2e-3)


def test_an_interval_worked_out_by_hand():
    base, other = [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 1.0, 2.0, 2.0, 4.0]
    parts = [math.log((15 - b) / (10 - o)) for b, o in zip(base, other, strict=True)]
    mean = sum(parts) / 5
    se = math.sqrt(4 / 5 * sum((part - mean) ** 2 for part in parts))
    found = ratio(base, other)
    assert found.value == pytest.approx(1.5)
    assert (found.low, found.high) == pytest.approx(
        (1.5 * math.exp(-2.1318 * se), 1.5 * math.exp(2.1318 * se)), rel=1e-3
    )


@settings(deadline=None)
@given(seconds, seconds)
def test_the_inverse_has_the_inverse_interval(base, other):
    one, back = ratio(base, other), ratio(other, base)
    assert one.low <= one.value <= one.high
    assert (back.low, back.high) == pytest.approx((1 / one.high, 1 / one.low), rel=1e-6)


def test_fewer_than_five_texts_have_no_interval():
    for count in range(1, 8):
        found = ratio([1.0 + n for n in range(count)], [1.0] * count)
        assert (found.low is None) == (count < FEWEST)


def test_a_share_of_nothing_is_none_and_one_that_hangs_on_a_single_text_has_no_interval():
    assert captured([1.0] * 6, [1.0] * 6, [1.0] * 6) is None
    found = captured([1.0] * 5 + [2.0], [1.0] * 5 + [1.5], [1.0] * 6)
    assert (found.value, found.low) == (pytest.approx(0.5), None)
    found = captured([2.0] * 6, [1.5, 1.4, 1.6, 1.5, 1.5, 1.5], [1.0] * 6)
    assert found.value == pytest.approx(0.5, abs=0.01)
    assert found.low < found.value < found.high


def worlds(kind, texts, generator):
    """Return seconds of both modes on texts that are drawn from a kind of workload."""
    tokens = generator.integers(20, 97, texts).astype(float)
    faster = {
        "calm": lambda: np.exp(0.5 + 0.15 * generator.standard_normal(texts)),
        "heavy": lambda: np.exp(0.5 + 0.3 * np.clip(generator.standard_t(3, texts), -5, 5)),
        "loops": lambda: np.where(
            generator.random(texts) < 0.3,
            generator.uniform(4, 7, texts),
            generator.lognormal(0.4, 0.15, texts),
        ),
    }[kind]()
    return tokens, tokens / faster


@pytest.mark.parametrize(("texts", "least"), [(5, 0.80), (8, 0.83), (15, 0.84), (30, 0.84)])
def test_stats_hold_nearly_as_often_as_they_say_also_with_few_texts(texts, least):
    generator = np.random.default_rng(texts)
    for kind in ("calm", "heavy", "loops"):
        base, other = worlds(kind, 400_000, generator)
        truth, held, lives = base.sum() / other.sum(), 0, 600
        for _ in range(lives):
            base, other = worlds(kind, texts, generator)
            found = ratio(base.tolist(), other.tolist())
            held += found.low <= truth <= found.high
        assert least - 0.04 <= held / lives <= 0.95, kind


def test_an_interval_narrows_with_the_root_of_the_number_of_texts():
    chance = random.Random(1)

    def width(texts):
        found = ratio([chance.lognormvariate(0, 0.3) for _ in range(texts)], [1.0] * texts)
        return math.log(found.high / found.low)

    widths = [median(width(texts) for _ in range(60)) for texts in (20, 80, 320)]
    assert widths[0] / widths[1] == pytest.approx(2.0, rel=0.15)
    assert widths[1] / widths[2] == pytest.approx(2.0, rel=0.15)
