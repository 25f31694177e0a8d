from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.records import Plan, StopRule
from paceline.core.testing import ChaoticPolicy, FixedCosts, ScriptedPolicy, play


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), length=st.integers(1, 60), signals=st.booleans())
def test_whatever_is_planned_the_text_is_delivered_once_and_ends_by_length(seed, length, signals):
    random = Random(seed)
    bits = {name: [random.random() < 0.7 for _ in range(length)] for name in ("a", "b")}
    needs = frozenset({"top1", "entropy"}) if signals else frozenset()
    rounds = play(ChaoticPolicy(seed, ("a", "b"), signals=needs), bits)
    assert sum(r.emitted for r in rounds) == length
    assert [r.ended for r in rounds] == [None] * (len(rounds) - 1) + ["length"]
    for r in rounds:
        assert r.drafted <= r.plan.gamma
        assert r.emitted == len(r.tokens) == r.accepted + 1
        if r.plan.draft:
            agreed = bits[r.plan.draft][r.position : r.position + r.drafted]
            assert agreed[: r.accepted] == [True] * r.accepted
            assert r.accepted == r.drafted or not agreed[r.accepted]


def test_lags_follow_the_caches():
    policy = ScriptedPolicy([2, 2, 0, Plan(1, "other"), 2])
    play(policy, {"draft": [True] * 12, "other": [True] * 12}, prompt=5)
    seen = [tuple(start.lags.values()) for start in policy.starts]
    assert seen == [(4, 4), (1, 7), (1, 10), (2, 11), (4, 1)]


def test_a_declared_stop_ends_drafting_after_the_token_that_triggers_it():
    bits = [True, False, True, True, True]
    rounds = play(ScriptedPolicy([Plan(4, stop=StopRule("top1", below=0.5))]), bits)
    assert (rounds[0].drafted, rounds[0].accepted) == (2, 1)


def test_times_are_those_of_the_cost_model():
    costs = FixedCosts({"draft": 2.0}, lambda length, context: 10.0 * length + context, catch_up_s=0.5)
    first = play(ScriptedPolicy([3]), [True] * 8, costs=costs, prompt=5)[0]
    assert (first.draft_s, first.verify_s, first.total_s) == pytest.approx((8.0, 45.0, 53.0))
