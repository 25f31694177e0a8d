"""The price of waking a draft, held against the round that wakes it."""

from dataclasses import replace

import pytest

from paceline.core.records import Plan
from paceline.policies.baselines.restart_cost import RestartCostConfig, RestartCostPolicy
from paceline.policies.gamma_scan import catch_up_share_s
from paceline.policies.online import OnlineConfig
from paceline.testing import FixedCosts, ScriptedPolicy, play

COSTS = FixedCosts(1.0, 10.0, catch_up_s=0.5)


def guarded(plans, **options):
    return RestartCostPolicy(RestartCostConfig(**options), ScriptedPolicy([Plan(gamma) for gamma in plans]))


def taught(plans, spec, plain, **options):
    """Return a wrapper whose last round rested and which knows the tokens and seconds of both ways."""
    policy = guarded(plans, **options)
    known = {"speculating": list(spec), "plain": list(plain), "rested": True}
    policy.load_state_dict(policy.state_dict() | known)
    return policy


# A token takes 10 s plainly and 4 s with drafts: a round of gamma 4 saves 24 s. A lagging token takes .5 s.
@pytest.mark.parametrize(("lag", "gamma"), [(0, 4), (1, 4), (47, 4), (49, 0), (500, 0)])
def test_a_draft_is_woken_where_the_tokens_of_one_round_save_more_than_it_takes_to_catch_up(
    start, lag, gamma
):
    policy = taught([4], (10.0, 40.0), (10.0, 100.0))
    plan = policy.plan(start(costs=COSTS, lags={"draft": lag}))
    assert plan.gamma == gamma
    assert (plan.reason == "restart-cost") == (gamma == 0)


@pytest.mark.parametrize(("rounds", "gamma"), [(1, 0), (2, 0), (3, 4)])
def test_the_price_may_be_spread_over_several_rounds(start, rounds, gamma):
    policy = taught([4], (10.0, 40.0), (10.0, 100.0), rounds=rounds)
    assert policy.plan(start(costs=COSTS, lags={"draft": 100})).gamma == gamma


def test_it_is_spread_over_no_more_tokens_than_are_wanted(start):
    policy = taught([4], (10.0, 40.0), (10.0, 100.0), rounds=1000)
    assert policy.plan(start(7, costs=COSTS, lags={"draft": 97})).gamma == 0
    assert policy.plan(start(8, costs=COSTS, lags={"draft": 97})).gamma == 4


def test_a_shared_price_would_wake_the_draft_where_this_one_does_not(start):
    """The same moment as `catch_up` sees it: spread over the 101 tokens wanted, the price is next to nothing."""
    begin = start(100, costs=COSTS, lags={"draft": 200})
    assert catch_up_share_s(begin, "draft") < 10.0 - 4.0
    assert taught([4], (10.0, 40.0), (10.0, 100.0)).plan(begin).gamma == 0


def test_where_drafting_saves_nothing_only_a_free_restart_goes_through(start):
    policy = taught([4], (10.0, 120.0), (10.0, 100.0))
    assert policy.plan(start(costs=COSTS, lags={"draft": 0})).gamma == 4
    assert policy.plan(start(costs=COSTS, lags={"draft": 2})).gamma == 0


def test_what_cannot_be_weighed_goes_through(start):
    late = start(costs=COSTS, lags={"draft": 5000})
    first = replace(late, index=0)
    assert taught([4], (10.0, 40.0), (10.0, 100.0)).plan(late).gamma == 0
    assert taught([4], (0.0, 0.0), (10.0, 100.0)).plan(late).gamma == 4
    assert taught([4], (10.0, 40.0), (0.0, 0.0)).plan(late).gamma == 4
    assert taught([4], (10.0, 40.0), (10.0, 100.0)).plan(first).gamma == 4
    assert guarded([4]).plan(late).gamma == 4


def test_a_draft_that_is_awake_is_left_alone(start, done):
    policy = taught([4], (10.0, 40.0), (10.0, 100.0))
    policy.observe(done(4, 2))
    assert policy.plan(start(costs=COSTS, lags={"draft": 5000})).gamma == 4


def test_after_so_many_rounds_held_back_one_goes_through():
    plans = [4] * 5 + [0] * 30 + [4] * 300
    policy = guarded(plans, patience=20)
    rounds = play(policy, [False] * 200, costs=COSTS)
    held = [done.plan.reason == "restart-cost" for done in rounds[35:56]]
    assert held == [True] * 20 + [False]
    assert all(done.plan.gamma == 4 for done in rounds[55:-5])


def test_the_inner_policy_does_not_see_rounds_that_were_held_back():
    inner = ScriptedPolicy([Plan(4)] * 5 + [Plan(0)] * 30 + [Plan(4)] * 300)
    rounds = play(RestartCostPolicy(RestartCostConfig(patience=20), inner), [False] * 200, costs=COSTS)
    assert inner.rounds == [done for done in rounds if done.plan.reason != "restart-cost"]


def test_the_times_of_a_token_worked_out_by_hand(start, done):
    policy = guarded([4, 4, 0, 0])
    policy.plan(start(costs=COSTS, lags={"draft": 6}))
    policy.observe(replace(done(4, 3), total_s=17.0, draft_s=7.0))  # 3 s of it were spent on catching up
    assert policy.state_dict()["speculating"] == [4.0, 14.0]
    policy.plan(start(costs=COSTS))
    policy.observe(replace(done(4, 0), total_s=14.0))
    assert policy.state_dict()["speculating"] == pytest.approx([0.95 * 4 + 1, 0.95 * 14 + 14])
    policy.plan(start(costs=COSTS))
    policy.observe(done(0, 0))
    policy.plan(start(costs=COSTS))
    policy.observe(done(0, 0, ended="length"))
    assert policy.state_dict()["plain"] == [1.0, 10.0]


def test_a_policy_that_never_rests_is_never_held_back():
    plain = play(OnlineConfig().build(), [True] * 500, costs=COSTS)
    assert play(RestartCostConfig(policy="online").build(), [True] * 500, costs=COSTS) == plain
