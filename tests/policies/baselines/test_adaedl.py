import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.records import TokenSignals
from paceline.policies.baselines.adaedl import AdaEdlConfig

ROUND = st.integers(1, 20).flatmap(lambda drafted: st.tuples(st.integers(0, drafted), st.just(drafted)))


def after(done, rounds, gamma=20, **options):
    policy = AdaEdlConfig(**options).build()
    for accepted, drafted in rounds:
        policy.observe(done(gamma, accepted, drafted=drafted))
    return policy


@settings(deadline=None)
@given(entropy=st.floats(0.0, 12.0), threshold=st.floats(0.0, 1.0), factor=st.floats(0.01, 5.0))
def test_drafting_stops_exactly_where_the_bound_falls_below_lambda(entropy, threshold, factor):
    bound = 1.0 - math.sqrt(factor * entropy)
    rule = AdaEdlConfig(first_threshold=threshold, factor=factor).build().rule
    if not math.isclose(bound, threshold, rel_tol=1e-9, abs_tol=1e-9):
        assert rule.stops(TokenSignals(0, entropy=entropy)) == (bound < threshold)


def test_two_steps_by_hand(done):
    """r: 0.9 -> 0.45 + 0.5 * 1 = 0.95 -> 0.475 + 0.5 * 0.25 = 0.6; lambda: 0.4 - 0.001, then + 0.001."""
    policy = after(done, [(6, 6)])
    assert policy.state_dict()["rate"] == pytest.approx(0.95)
    assert policy.threshold == pytest.approx(0.399)
    assert policy.rule.above == pytest.approx(0.601**2 / 0.2)
    policy.observe(done(20, 1, drafted=4))
    assert policy.state_dict()["rate"] == pytest.approx(0.6)
    assert policy.threshold == pytest.approx(0.4)


def test_a_full_block_moves_the_rate_and_leaves_lambda(done):
    policy = after(done, [(8, 8)], gamma=8)
    assert policy.state_dict()["rate"] == pytest.approx(0.95)
    assert policy.threshold == 0.4


@settings(deadline=None)
@given(rounds=st.lists(ROUND, max_size=40), step=st.floats(0.0, 1.0), memory=st.floats(0.0, 0.99))
def test_lambda_and_rate_stay_within_0_and_1(rounds, step, memory, done):
    state = after(done, rounds, step=step, threshold_memory=memory).state_dict()
    assert 0.0 <= state["threshold"] <= 1.0
    assert 0.0 <= state["rate"] <= 1.0


@settings(deadline=None)
@given(rounds=st.lists(ROUND, max_size=20), last=st.integers(1, 19), fewer=st.integers(0, 19))
def test_fewer_accepted_tokens_never_make_the_rule_more_patient(rounds, last, fewer, done):
    """Full blocks aside, which leave lambda as it is."""
    more, less = ([*rounds, (count, 19)] for count in (last, min(last, fewer)))
    assert after(done, less).rule.above <= after(done, more).rule.above


@pytest.mark.parametrize(("drafted", "ended"), [(0, None), (6, "eos"), (6, "stop"), (6, "length")])
def test_a_round_without_a_known_share_of_acceptance_moves_nothing(drafted, ended, done):
    policy = after(done, [(2, 5)])
    before = policy.state_dict()
    policy.observe(done(6, 0, drafted=drafted, ended=ended))
    assert policy.state_dict() == before


def test_what_is_learnt_is_planned_in_the_next_round(start, done):
    policy = AdaEdlConfig(step=1.0, threshold_memory=0.0).build()
    policy.observe(done(20, 0, drafted=3))
    assert policy.plan(start()).stop.above == 0.0  # lambda 1: any doubt at all stops
