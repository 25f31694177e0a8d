import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.state.declared import add_statistics, statistics_of
from paceline.policies.throughput import MAX_WEIGHT, SMALL_LAG, ArmStatistics, is_rate_sample

ADDED = st.lists(
    st.tuples(st.integers(0, 2), st.floats(0.0, 20.0), st.floats(0.01, 10.0)), min_size=1, max_size=60
)


def filled(added, discount=1.0):
    rates = ArmStatistics(["a", "b", "c"], discount)
    for arm, gained, spent in added:
        rates.count(arm, gained, spent)
    return rates


def test_a_rate_is_a_ratio_of_sums_and_no_mean_of_ratios():
    rates = filled([(0, 1.0, 1.0), (0, 5.0, 2.0)])
    assert rates.rate(0) == 2.0
    assert (1.0 / 1.0 + 5.0 / 2.0) / 2 != 2.0
    assert (rates.rounds_of(0), rates.rounds_of(1), rates.total_rounds(), rates.total_spent()) == (
        2,
        0,
        2,
        3.0,
    )


def test_an_arm_without_expense_has_rate_0():
    assert ArmStatistics(["a"]).rate(0) == 0.0
    assert filled([(1, 3.0, 0.0)]).rate(1) == 0.0


@settings(deadline=None)
@given(ADDED, st.floats(0.5, 1.0))
def test_discounted_sums_are_those_of_the_definition(added, discount):
    rates = filled(added, discount)
    ages = range(len(added) - 1, -1, -1)
    for arm in range(3):
        own = [
            (discount**age, gained, spent)
            for age, (i, gained, spent) in zip(ages, added, strict=True)
            if i == arm
        ]
        assert rates.rounds_of(arm) == pytest.approx(sum(w for w, _, _ in own))
        assert rates.rate(arm) == pytest.approx(
            sum(w * gained for w, gained, _ in own) / (sum(w * spent for w, _, spent in own) or 1.0)
        )


def test_ten_thousand_rounds_of_ageing_neither_overflow_nor_lose_the_sums():
    rates = ArmStatistics(["a", "b"], 0.9)
    for _ in range(10_000):
        rates.count(0, 3.0, 2.0)
        rates.count(1, 1.0, 2.0)
    assert rates.total_rounds() == pytest.approx(10.0)
    assert rates.rate(0) == pytest.approx(1.5)
    assert rates.rate(1) == pytest.approx(0.5)
    assert 1.0 <= rates.weight <= MAX_WEIGHT


@settings(deadline=None)
@given(ADDED, ADDED, st.sampled_from([1.0, 0.9]))
def test_absorbing_adds_what_the_other_one_exports(one, other, discount):
    first, second = filled(one, discount), filled(other, discount)
    both = filled(one, discount)
    both = add_statistics(both, statistics_of(second))
    for key in statistics_of(first) | statistics_of(second):
        expected = statistics_of(first).get(key, 0.0) + statistics_of(second).get(key, 0.0)
        assert statistics_of(both)[key] == pytest.approx(expected)


@pytest.mark.parametrize("key", ["d/rounds", "a/losses", "a", "rounds"])
def test_statistics_of_other_arms_are_refused_as_a_whole(key):
    rates = filled([(0, 1.0, 2.0)])
    before = statistics_of(rates)
    with pytest.raises(ValueError, match="no statistic"):
        add_statistics(rates, {"a/rounds": 1.0, key: 1.0})
    with pytest.raises(ValueError, match="a/spent"):
        add_statistics(rates, {"a/rounds": 1.0, "a/spent": math.nan})
    assert statistics_of(rates) == before


def test_cut_rounds_and_rounds_that_read_a_prompt_first_say_nothing(done):
    from dataclasses import replace

    assert is_rate_sample(done(4, 2))
    assert is_rate_sample(replace(done(4, 2), lag=SMALL_LAG))
    assert not is_rate_sample(replace(done(4, 2), lag=SMALL_LAG + 1))
    assert not any(is_rate_sample(done(4, 2, ended=why)) for why in ("eos", "stop", "length"))
