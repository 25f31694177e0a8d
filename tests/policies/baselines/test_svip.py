import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.records import TokenSignals
from paceline.policies.baselines.svip import SvipConfig
from paceline.testing import play


def bound(**options):
    return SvipConfig(**options).build().rule.above


def test_the_released_constants_stop_above_six_tenths_of_a_nat():
    assert bound() == pytest.approx(0.6)


@settings(deadline=None)
@given(entropy=st.floats(0.0, 12.0), threshold=st.floats(0.01, 1.0), kappa=st.floats(0.001, 10.0))
def test_drafting_stops_exactly_where_the_square_root_exceeds_the_threshold(entropy, threshold, kappa):
    root = math.sqrt(kappa * entropy)
    rule = SvipConfig(threshold=threshold, kappa=kappa).build().rule
    if not math.isclose(root, threshold, rel_tol=1e-9):
        assert rule.stops(TokenSignals(0, entropy=entropy)) == (root > threshold)


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5), st.floats(0.001, 10.0))
def test_a_larger_threshold_never_stops_earlier(thresholds, kappa):
    bounds = [bound(threshold=one, kappa=kappa) for one in sorted(thresholds)]
    assert bounds == sorted(bounds)


def test_the_token_that_stops_a_round_is_verified():
    """The played draft has 2 nats of entropy where it is wrong: the first wrong token is the last one drafted."""
    first, second = play(SvipConfig().build(), [True, True, False, True, True])[:2]
    assert (first.plan.gamma, first.drafted, first.accepted) == (4, 3, 2)
    assert second.plan.stop == first.plan.stop


def test_a_policy_that_learns_nothing_refuses_the_state_of_another():
    with pytest.raises(ValueError, match="expected the state of policy 'svip'"):
        SvipConfig().build().load_state_dict({"policy": "adaedl", "version": 1})
