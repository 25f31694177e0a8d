"""Hedge with fixed share, step by step."""

from math import exp, log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.policies.drafts.weights import Weights


def test_a_step_by_hand_without_share():
    weights = Weights(0.0)
    weights.update({"a": 0.0, "b": 0.5}, ["a", "b"])
    eta = sqrt(8 * log(2) / 1)
    assert weights.of("b") / weights.of("a") == pytest.approx(exp(-eta * 0.5))
    weights.update({"a": 0.2, "b": 0.0}, ["a", "b"])
    second = sqrt(8 * log(2) / 2)
    assert weights.of("b") / weights.of("a") == pytest.approx(exp(-eta * 0.5 + second * 0.2))


def test_a_step_by_hand_with_share():
    weights = Weights(0.1)
    weights.update({"a": 0.0, "b": 1.0}, ["a", "b"])
    ratio = exp(-sqrt(8 * log(2)))
    lost = 2 * ratio / (1 + ratio)
    assert weights.of("b") == pytest.approx(0.9 * lost + 0.1)
    assert weights.of("a") == pytest.approx(0.9 * (2 - lost) + 0.1)


def test_who_sleeps_keeps_its_weight():
    weights = Weights(0.0)
    weights.update({"a": 0.0, "c": 1.0}, ["a", "b", "c"])
    assert weights.of("b") == 1.0
    assert weights.of("a") > 1.0 > weights.of("c")


@given(
    st.lists(st.lists(st.none() | st.floats(0, 1), min_size=3, max_size=3), max_size=60),
    st.sampled_from([0.0, 0.02, 0.5]),
)
def test_weights_are_one_on_average_and_never_vanish(trials, share):
    weights = Weights(share)
    for losses in trials:
        awake = {name: loss for name, loss in zip("abc", losses, strict=True) if loss is not None}
        if len(awake) > 1:
            weights.update(awake, "abc")
    assert sum(map(weights.of, "abc")) == pytest.approx(3.0)
    assert min(map(weights.of, "abc")) >= min(share / 3, 1e-12)


def test_the_rate_stops_falling_where_the_share_has_forgotten():
    weights = Weights(0.02)
    for _ in range(500):
        weights.update({"a": 0.0, "b": 1.0}, "ab")
    assert weights.trials == 50.0


def test_a_comeback_takes_as_long_after_many_trials_as_after_a_few():
    def comeback(trials):
        weights = Weights(0.02)
        for _ in range(trials):
            weights.update({"a": 0.0, "b": 0.3}, "ab")
        needed = 0
        while weights.of("b") <= weights.of("a"):
            weights.update({"a": 0.3, "b": 0.0}, "ab")
            needed += 1
        return needed

    assert comeback(5000) == comeback(500) <= 60
