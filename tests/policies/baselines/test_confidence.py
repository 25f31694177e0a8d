"""The threshold on a token's probability: against brute force, on rounds cut and refused, and within bounds."""

from fractions import Fraction
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.policies.baselines.confidence import ConfidenceConfig, fitted

# Few values, so that equal probabilities and equal losses happen; inside the bounds, so that those do not interfere.
PAIR = st.tuples(st.integers(5, 95).map(lambda percent: percent / 100), st.integers(0, 1))
PAIRS = st.lists(PAIR, min_size=6, max_size=60)


def brute_force(pairs, weight):
    right, wrong = ([prob for prob, verdict in pairs if verdict == kind] for kind in (1, 0))

    def loss(tau):
        through, stopped = sum(prob >= tau for prob in wrong), sum(prob < tau for prob in right)
        return Fraction(through, len(wrong)) + weight * Fraction(stopped, len(right))

    losses = {tau: loss(tau) for tau, _ in pairs}
    return max(tau for tau in losses if losses[tau] == min(losses.values()))


@settings(deadline=None, max_examples=200)
@given(PAIRS, st.integers(1, 6))
def test_the_threshold_is_the_best_of_all_probabilities_seen(pairs, weight):
    if len({verdict for _, verdict in pairs}) == 2:
        assert fitted(pairs, float(weight)) == brute_force(pairs, weight)
    else:
        assert fitted(pairs, float(weight)) is None


def test_a_fit_by_hand():
    """At 0.5 one of two bad tokens passes and no good one is stopped: 1/2. At 0.7: 3 * 1/4. At 0.3: 1."""
    pairs = [(0.3, 0), (0.5, 1), (0.6, 0), (0.7, 1), (0.8, 1), (0.9, 1)]
    assert fitted(pairs, 3.0) == 0.5
    assert fitted(pairs, 1.0) == 0.7
    assert fitted(pairs[:5], 3.0) is None  # too few


@settings(deadline=None)
@given(PAIRS, st.lists(st.floats(0.1, 20.0), min_size=2, max_size=4))
def test_the_more_a_needless_stop_costs_the_lower_the_threshold(pairs, weights):
    found = [fitted(pairs, weight) for weight in sorted(weights)]
    if None not in found:
        assert found == sorted(found, reverse=True)


@settings(deadline=None)
@given(PAIRS)
def test_a_draft_that_is_surer_of_everything_gets_a_threshold_that_is_higher_by_as_much(pairs):
    def surer(prob):
        return 0.05 + 0.9 * prob**0.5

    found = fitted(pairs, 3.0)
    if found is not None:
        assert fitted([(surer(prob), verdict) for prob, verdict in pairs], 3.0) == surer(found)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(0, 1)), max_size=60))
def test_the_threshold_stays_within_bounds(pairs):
    found = fitted(pairs, 3.0)
    assert found is None or 0.05 <= found <= 0.95


def pairs_of(policy):
    return [tuple(pair) for pair in policy.state_dict()["pairs"]]


def test_tokens_behind_a_refusal_are_not_judged(done):
    policy = ConfidenceConfig().build()
    policy.observe(done(5, 2, probs=(0.9, 0.8, 0.7, 0.6, 0.5)))
    assert pairs_of(policy) == [(0.9, 1), (0.8, 1), (0.7, 0)]


@pytest.mark.parametrize("ended", ["eos", "stop", "length"])
def test_a_cut_round_counts_what_it_delivered_and_no_refusal(ended, done):
    policy = ConfidenceConfig().build()
    policy.observe(done(5, 2, ended=ended, probs=(0.9, 0.8, 0.7, 0.6, 0.5)))
    policy.observe(done(4, 4, ended=ended, emitted=1, probs=(0.4, 0.3, 0.2, 0.1)))
    assert pairs_of(policy) == [(0.9, 1), (0.8, 1), (0.4, 1)]


def test_rounds_without_signals_teach_nothing_and_are_not_counted(done):
    policy = ConfidenceConfig().build()
    before = policy.state_dict()
    for _ in range(40):
        policy.observe(done(4, 2))
    assert policy.state_dict() == before


def test_the_threshold_moves_after_16_rounds_and_the_next_round_is_planned_with_it(start, done):
    policy = ConfidenceConfig().build()
    for _ in range(15):
        policy.observe(done(2, 1, probs=(0.8, 0.6)))
        assert policy.plan(start()).stop.below == 0.4
    policy.observe(done(2, 1, probs=(0.8, 0.6)))
    assert policy.plan(start()).stop.below == policy.threshold == 0.8


def test_a_fixed_threshold_stays(start, done):
    policy = ConfidenceConfig(threshold=0.55, adapt=False).build()
    for _ in range(40):
        policy.observe(done(2, 1, probs=(0.8, 0.6)))
    assert policy.plan(start()).stop.below == 0.55
    assert pairs_of(policy) == []


def test_only_the_last_2048_verdicts_count(done):
    policy = ConfidenceConfig().build()
    for _ in range(1600):
        policy.observe(done(2, 1, probs=(0.9, 0.7)))
    assert len(pairs_of(policy)) == 2048
    for _ in range(1024):
        policy.observe(done(2, 1, probs=(0.3, 0.2)))
    assert set(pairs_of(policy)) == {(0.3, 1), (0.2, 0)}
    assert policy.threshold == 0.3


def test_a_calibrated_draft_gets_a_threshold_at_which_good_and_bad_balance(done):
    """With p uniform and p its probability of acceptance, the loss is least where (1 - p) / (1/2) = 3 p / (1/2)."""
    random = Random(0)
    policy = ConfidenceConfig().build()
    found = []
    for _ in range(8000):
        prob = random.random()
        policy.observe(done(1, int(random.random() < prob), probs=(prob,)))
        found.append(policy.threshold)
    assert sum(found[2000:]) / 6000 == pytest.approx(0.25, abs=0.05)
