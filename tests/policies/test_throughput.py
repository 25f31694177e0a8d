import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.policies.throughput import HEAVY, READ_ALONG, Rates, tells_rate

ADDED = st.lists(
    st.tuples(st.integers(0, 2), st.floats(0.0, 20.0), st.floats(0.01, 10.0)), min_size=1, max_size=60
)


def filled(added, discount=1.0):
    rates = Rates(["a", "b", "c"], discount)
    for arm, gained, spent in added:
        rates.add(arm, gained, spent)
    return rates


def test_a_rate_is_a_ratio_of_sums_and_no_mean_of_ratios():
    rates = filled([(0, 1.0, 1.0), (0, 5.0, 2.0)])
    assert rates.rate(0) == 2.0
    assert (1.0 / 1.0 + 5.0 / 2.0) / 2 != 2.0
    assert (rates.rounds(0), rates.rounds(1), rates.rounds(), rates.spent()) == (2, 0, 2, 3.0)


def test_an_arm_without_expense_has_rate_0():
    assert Rates(["a"]).rate(0) == 0.0
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
        assert rates.rounds(arm) == pytest.approx(sum(w for w, _, _ in own))
        assert rates.rate(arm) == pytest.approx(
            sum(w * gained for w, gained, _ in own) / (sum(w * spent for w, _, spent in own) or 1.0)
        )


def test_ten_thousand_rounds_of_ageing_neither_overflow_nor_lose_the_sums():
    rates = Rates(["a", "b"], 0.9)
    for _ in range(10_000):
        rates.add(0, 3.0, 2.0)
        rates.add(1, 1.0, 2.0)
    assert rates.rounds() == pytest.approx(10.0)
    assert rates.rate(0) == pytest.approx(1.5)
    assert rates.rate(1) == pytest.approx(0.5)
    assert 1.0 <= rates.state_dict()["weight"] <= HEAVY


@settings(deadline=None)
@given(ADDED, ADDED, st.sampled_from([1.0, 0.9]))
def test_absorbing_adds_what_the_other_one_exports(one, other, discount):
    first, second = filled(one, discount), filled(other, discount)
    both = filled(one, discount)
    both.absorb(second.export())
    for key in first.export() | second.export():
        expected = first.export().get(key, 0.0) + second.export().get(key, 0.0)
        assert both.export()[key] == pytest.approx(expected)


@settings(deadline=None)
@given(ADDED, ADDED)
def test_restored_rates_go_on_with_the_very_same_numbers(before, after):
    rates, restored = filled(before, 0.9), Rates(["a", "b", "c"], 0.9)
    restored.load_state_dict(json.loads(json.dumps(rates.state_dict())))
    for arm, gained, spent in after:
        rates.add(arm, gained, spent)
        restored.add(arm, gained, spent)
    assert restored.state_dict() == rates.state_dict()


@pytest.mark.parametrize(
    "damage",
    [
        {"arms": ["a", "b"]},
        {"weight": 0.0},
        {"weight": math.inf},
        {"weight": None},
        {"sums": [[1.0, 1.0, 1.0]] * 2},
        {"sums": [[1.0, 1.0]] * 3},
        {"sums": [[1.0, 1.0, -1.0]] * 3},
        {"sums": [[1.0, 1.0, "1"]] * 3},
    ],
)
def test_damaged_sums_are_refused_and_change_nothing(damage):
    rates = filled([(0, 1.0, 2.0)])
    before = rates.state_dict()
    with pytest.raises(ValueError, match="the saved state is"):
        rates.load_state_dict(before | damage)
    with pytest.raises(ValueError, match="not a mapping"):
        rates.load_state_dict([before])
    assert rates.state_dict() == before


@pytest.mark.parametrize("key", ["d/rounds", "a/losses", "a", "rounds"])
def test_statistics_of_other_arms_are_refused_as_a_whole(key):
    rates = filled([(0, 1.0, 2.0)])
    before = rates.export()
    with pytest.raises(ValueError, match="keys look like 'a/rounds'"):
        rates.absorb({"a/rounds": 1.0, key: 1.0})
    with pytest.raises(ValueError, match="a/spent"):
        rates.absorb({"a/rounds": 1.0, "a/spent": math.nan})
    assert rates.export() == before


def test_cut_rounds_and_rounds_that_read_a_prompt_first_say_nothing(done):
    from dataclasses import replace

    assert tells_rate(done(4, 2))
    assert tells_rate(replace(done(4, 2), lag=READ_ALONG))
    assert not tells_rate(replace(done(4, 2), lag=READ_ALONG + 1))
    assert not any(tells_rate(done(4, 2, ended=why)) for why in ("eos", "stop", "length"))
