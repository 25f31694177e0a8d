"""Eq 1 against brute force and against its closed form."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.records import Capabilities, DraftState, RoundStart
from paceline.core.testing.doubles import FixedCosts
from paceline.policies.online import OnlineConfig


def planned(accuracy_counts, costs, *, budget=10_000, lag=0, **options):
    """Plan one round with the estimate right / (right + wrong)."""
    right, wrong = accuracy_counts
    policy = OnlineConfig(**({"prior": None, "max_accuracy": 0.999, "max_gamma": 16} | options)).build()
    state = {"policy": "online", "version": 1, "rounds": [[right, wrong]], "quiet": 0}
    policy.load_state_dict(state)
    return policy.plan(RoundStart(0, 0, 9, budget, {"draft": DraftState(lag)}, costs)).gamma


@settings(deadline=None, max_examples=200)
@given(
    right=st.integers(0, 100),
    wrong=st.integers(1, 100),
    draft_s=st.floats(0.0, 20.0),
    steps=st.lists(st.floats(0.0, 5.0), min_size=17, max_size=17),
    budget=st.integers(1, 30),
)
def test_the_plan_is_the_argmax_of_eq_1(right, wrong, draft_s, steps, budget):
    def verify(length, _context):
        return 1.0 + sum(steps[:length])

    def speed(gamma):
        tokens = sum(accuracy**k for k in range(gamma + 1))
        return tokens / (gamma * draft_s + verify(gamma + 1, 0))

    accuracy = right / (right + wrong)
    gamma = planned((right, wrong), FixedCosts(draft_s, verify), budget=budget)
    assert 0 <= gamma <= min(16, budget)
    assert speed(gamma) >= max(speed(g) for g in range(min(16, budget) + 1)) * (1 - 1e-9)


def lambert(k):
    """Return u = -W_{-1}(-e^-k) for k > 1, the root above 1 of u - ln u = k, by Newton's method."""
    u = k + math.log(k) + 1.0
    for _ in range(100):
        u -= (u - math.log(u) - k) / (1.0 - 1.0 / u)
    return u


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("percent", [50, 60, 70, 80, 90, 95])
def test_with_flat_verification_the_plan_is_the_closed_form_to_within_one(percent, share):
    rate = -math.log(percent / 100)
    k = 1.0 + rate * (1.0 / share - 1.0)
    u = lambert(k)
    assert -u * math.exp(-u) == pytest.approx(-math.exp(-k))
    ideal = (u - k) / rate - 1.0
    gamma = planned((percent, 100 - percent), FixedCosts(share, 1.0), max_gamma=200)
    assert abs(gamma - ideal) <= 1.0


@pytest.mark.parametrize(
    ("percent", "share", "gamma"),
    [(50, 0.02, 4), (50, 0.2, 1), (70, 0.1, 4), (80, 0.05, 8), (90, 0.2, 7), (95, 0.02, 31)],
)
def test_known_optima_are_found(percent, share, gamma):
    assert planned((percent, 100 - percent), FixedCosts(share, 1.0), max_gamma=50) == gamma


def test_steps_of_the_verification_time_do_not_hide_a_better_gamma():
    """Blocks up to 8 cost the same, the second token of a block costs dear: gamma 1 loses, gamma 7 wins."""
    costs = FixedCosts(0.1, lambda length, _: 1.0 if length == 1 else 2.2)
    assert planned((80, 20), costs, max_gamma=7) == 7


@settings(deadline=None)
@given(budget=st.integers(0, 2000), lag=st.integers(2, 5000))
def test_a_lag_is_paid_exactly_when_the_tokens_still_wanted_earn_it_back(budget, lag):
    costs = FixedCosts(1.0, 10.0, catch_up_s=0.5)
    gamma = planned((80, 20), costs, budget=budget, lag=lag)
    wanted = budget + 1
    seconds = {
        g: wanted * (g + 10.0) * 0.2 / (1 - 0.8 ** (g + 1)) + 0.5 * lag for g in range(1, min(16, budget) + 1)
    }
    pays = bool(seconds) and min(seconds.values()) < wanted * 10.0 * (1 - 1e-12)
    assert (gamma > 0) == pays
    if pays:
        assert seconds[gamma] <= min(seconds.values()) * (1 + 1e-9)


def test_a_fixed_set_of_gammas_is_respected():
    policy = OnlineConfig(prior=None).build()
    policy.load_state_dict({"policy": "online", "version": 1, "rounds": [[80, 20]], "quiet": 0})
    engine = Capabilities(gammas=(1, 3, 12))
    start = RoundStart(0, 0, 9, 100, {"draft": DraftState(0)}, FixedCosts(1.0, 10.0), engine)
    assert policy.plan(start).gamma in {3, 12}
