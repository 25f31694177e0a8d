"""Eq 2 against its own mathematics: it is the maximum of the likelihood of censored geometric counts."""

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.records import DraftState, Plan, RoundStart
from paceline.core.testing.doubles import FixedCosts
from paceline.core.testing.playing import settle
from paceline.policies.online import OnlineConfig

START = RoundStart(0, 0, 9, 100, {"draft": DraftState(0)}, FixedCosts())
ROUND = st.integers(1, 12).flatmap(lambda gamma: st.tuples(st.just(gamma), st.integers(0, gamma)))
BARE = {"prior": None, "max_accuracy": 1 - 1e-9}


def estimate(rounds, **options):
    policy = OnlineConfig(**({"window": 1000} | options)).build()
    for gamma, accepted, *ended in rounds:
        plan = Plan(gamma, "draft")
        policy.observe(
            settle(START, plan, drafted=gamma, accepted=accepted, ended=ended[0] if ended else None)
        )
    return policy.accuracy()


@settings(deadline=None)
@given(st.lists(ROUND, min_size=1, max_size=30))
def test_the_estimate_maximises_the_censored_likelihood(rounds):
    def log_likelihood(alpha):
        return sum(v * math.log(alpha) + (v < gamma) * math.log(1 - alpha) for gamma, v in rounds)

    grid = [i / 2000 for i in range(1, 2000)]
    best = max(grid, key=log_likelihood)
    assert estimate(rounds, **BARE) == pytest.approx(best, abs=1 / 2000 + 1e-6)


@pytest.mark.parametrize("gamma", [1, 3, 5, 10])
@pytest.mark.parametrize("alpha", [0.5, 0.8, 0.95])
def test_the_estimate_finds_the_truth_within_its_standard_error_whatever_gamma_was(alpha, gamma):
    """The share of drafted tokens that were accepted does not: at alpha .5 and gamma 10 it tends to .1."""
    random, rounds, count = Random(f"{alpha}/{gamma}"), [], 100_000
    for _ in range(count):
        accepted = 0
        while accepted < gamma and random.random() < alpha:
            accepted += 1
        rounds.append((gamma, accepted))
    # Eq 2 is a share of independent trials: the tokens that were judged, accepted ones and first refusals.
    trials = sum(v + (v < gamma) for _, v in rounds)
    error = math.sqrt(alpha * (1 - alpha) / trials)
    assert abs(estimate(rounds, window=count, **BARE) - alpha) < 4 * error
    naive = sum(v for _, v in rounds) / (gamma * count)
    expected = alpha * (1 - alpha**gamma) / (1 - alpha) / gamma
    assert naive == pytest.approx(expected, abs=0.01)
    assert gamma == 1 or abs(naive - alpha) > 20 * error


@settings(deadline=None)
@given(st.lists(ROUND, min_size=1, max_size=30), st.integers(1, 10))
def test_only_the_last_rounds_of_the_window_count(rounds, window):
    assert estimate(rounds, window=window) == estimate(rounds[-window:])


@settings(deadline=None)
@given(st.lists(ROUND, min_size=1, max_size=20), st.integers(1, 12))
def test_a_cut_round_counts_its_accepted_tokens_and_no_refusal(rounds, accepted):
    cut = estimate([*rounds, (12, accepted, "eos")], **BARE)
    assert cut == estimate([*rounds, (accepted, accepted)], **BARE)
    assert cut >= estimate(rounds, **BARE)


def test_a_round_without_evidence_is_not_data():
    policy = OnlineConfig(window=2).build()
    known = [settle(START, Plan(4, "draft"), drafted=4, accepted=v) for v in (1, 3)]
    for done in known:
        policy.observe(done)
    before = policy.accuracy()
    for plan, drafted, ended in (
        (Plan(0), 0, None),
        (Plan(4, "draft"), 0, None),
        (Plan(4, "draft"), 4, "eos"),
    ):
        policy.observe(settle(START, plan, drafted=drafted, accepted=0, ended=ended))
    assert policy.accuracy() == before


def test_the_cap_bounds_an_estimate_of_one():
    assert estimate([(4, 4)] * 50, prior=None, max_accuracy=0.9) == 0.9


def test_the_prior_is_counted_on_top():
    assert estimate([(4, 1)], prior=(2.0, 1.0)) == pytest.approx(3 / 5)
    assert estimate([(4, 1)], prior=None) == pytest.approx(1 / 2)


def test_nothing_observed_is_no_estimate():
    assert OnlineConfig().build().accuracy() is None
