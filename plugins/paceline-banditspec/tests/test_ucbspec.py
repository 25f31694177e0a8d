"""UCBSpec, step by step, against numbers worked out by hand."""

import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline import Plan, Round
from paceline.testing import FixedCosts, play
from paceline_banditspec import UcbSpecConfig
from paceline_banditspec.ucbspec import radius


def bits(accuracy, count, seed=1):
    random = Random(seed)
    return [random.random() < accuracy for _ in range(count)]


def sums(policy):
    return {
        arm: [known["pulls"], known["tokens"], known["seconds"]]
        for arm, known in policy.state_dict()["sums"].items()
    }


def test_each_arm_is_pulled_once_first_in_the_order_listed(start, done):
    policy = UcbSpecConfig().build()
    pulled = []
    for _ in range(3):
        plan = policy.plan(start(drafts=("a", "b", "c")))
        pulled.append((plan.draft, plan.gamma, plan.reason))
        policy.observe(done(plan, 2))
    assert pulled == [("a", 4, "warm-up"), ("b", 4, "warm-up"), ("c", 4, "warm-up")]
    assert policy.plan(start(drafts=("a", "b", "c"))).reason is None


def test_the_radius_is_the_papers():
    # L = 4, K = 2, t = 2, n = 1: 2 sqrt(2 (1 + 2 log(2 * 4 * sqrt(2) / 0.05))), and log(226.274) = 5.42175.
    assert radius(1, 2, 2, 4.0, 0.05) == pytest.approx(2 * math.sqrt(2 * (1 + 2 * 5.42175)), rel=1e-5)
    assert radius(1, 2, 2, 4.0, 0.05) == pytest.approx(9.7339, rel=1e-4)
    # L = 8, K = 8, t = 80, n = 10: 4 sqrt(0.11 (1 + 2 log(8 * 6400 * sqrt(11) / 0.05))), and log(3396261) = 15.0382.
    assert radius(10, 80, 8, 8.0, 0.05) == pytest.approx(4 * math.sqrt(0.11 * 31.0764), rel=1e-4)


def test_the_index_is_the_mean_and_the_radius(start, done):
    policy = UcbSpecConfig(scale=0.5).build()
    for draft, accepted in (("good", 4), ("bad", 0), ("good", 2)):
        policy.plan(start())
        policy.observe(done(draft, accepted))
    index = policy.index(("good", "bad"))
    assert index["good"] == pytest.approx((5 + 3) / 2 + 0.5 * radius(2, 3, 2, 4.0, 0.05))
    assert index["bad"] == pytest.approx(1 + 0.5 * radius(1, 3, 2, 4.0, 0.05))


def test_with_the_rate_the_mean_is_a_ratio_of_sums_and_the_spread_is_1(start, done):
    policy = UcbSpecConfig(reward="rate", scale=1.0).build()
    # good: 5 tokens in 1 s and 1 in 9 s, together 0.6/s; the mean of the ratios would be 2.6/s. bad: 2 tokens in 2 s.
    for draft, accepted, seconds in (("good", 4, 1.0), ("good", 0, 9.0), ("bad", 1, 2.0)):
        policy.plan(start())
        policy.observe(done(draft, accepted, seconds=seconds))
    index = policy.index(("good", "bad"))
    assert index["bad"] == pytest.approx(1.0 + radius(1, 3, 2, 1.0, 0.05))
    assert index["good"] == pytest.approx(0.6 + radius(2, 3, 2, 1.0, 0.05))


def test_an_arm_that_was_unlucky_once_is_tried_again(start, done):
    """The same bonus for all arms, as in the released code, would leave it at one pull for ever."""
    policy = UcbSpecConfig().build()
    for _ in range(200):
        plan = policy.plan(start())
        first_pull_of_good = plan.draft == "good" and "good" not in sums(policy)
        policy.observe(done(plan, 0 if first_pull_of_good else {"good": 3, "bad": 1}[plan.draft]))
    assert sums(policy)["good"][0] > 2 * sums(policy)["bad"][0]


def test_a_round_that_was_ended_is_no_pull(start, done):
    policy = UcbSpecConfig().build()
    policy.observe(done(policy.plan(start()), 0, ended="eos"))
    assert sums(policy) == {}


@pytest.mark.parametrize("order", [("good", "bad"), ("bad", "good")])
def test_the_better_draft_is_found(order):
    texts = {"good": bits(0.8, 3000), "bad": bits(0.3, 3000, seed=2)}
    rounds = play(UcbSpecConfig().build(), {name: texts[name] for name in order})
    late = Counter(one.plan.draft for one in rounds[len(rounds) // 2 :])
    assert late["good"] > 0.9 * late.total()


def test_a_smaller_scale_finds_it_sooner():
    texts = {"good": bits(0.7, 1000), "bad": bits(0.5, 1000, seed=2)}
    wasted = [
        sum(one.plan.draft == "bad" for one in play(UcbSpecConfig(scale=scale).build(), texts))
        for scale in (1.0, 0.2)
    ]
    assert wasted[1] < wasted[0] / 2


def test_where_lengths_cost_differently_tokens_are_the_wrong_reward():
    """Draft tokens that cost as much as a plain step and are hardly ever accepted do not pay, and yield more tokens."""
    text, costs = bits(0.3, 4000), FixedCosts(1.0, 1.0)
    usual = {}
    for reward in ("rate", "tokens"):
        config = UcbSpecConfig(arms="gammas", gammas=(0, 1, 4), reward=reward, scale=0.1)
        rounds = play(config.build(), text, costs=costs)
        ((usual[reward], _),) = Counter(one.plan.gamma for one in rounds[-500:]).most_common(1)
    assert usual == {"rate": 0, "tokens": 4}


def test_replicas_pool_what_they_counted(start, done):
    first, second = UcbSpecConfig().build(), UcbSpecConfig().build()
    first.plan(start())
    first.observe(done("good", 3, seconds=2.0))
    second.absorb(first.export())
    second.absorb(first.export())
    assert sums(second) == {"good": [2, 8, 4.0]}


@pytest.mark.parametrize(
    "statistics",
    [
        {"4/pulls": 1},
        {"4/pulls": 1, "4/tokens": 2, "4/seconds": math.nan},
        {"4/pulls": 1.5, "4/tokens": 2, "4/seconds": 1.0},
        {"good/pulls": 1, "good/tokens": 2, "good/seconds": 1.0},
        {"pulls": 1, "tokens": 2, "seconds": 1.0},
    ],
    ids=str,
)
def test_foreign_statistics_are_refused_and_change_nothing(statistics):
    policy = UcbSpecConfig(arms="gammas").build()
    with pytest.raises(ValueError, match=r"statistic|no arm"):
        policy.absorb(statistics)
    assert sums(policy) == {}


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["good", "bad"]), st.integers(0, 4)), min_size=1, max_size=60))
def test_pulls_and_tokens_are_those_of_the_rounds(lives):
    policy = UcbSpecConfig().build()
    for draft, accepted in lives:
        tokens = (0,) * (accepted + 1)
        policy.observe(
            Round(0, 0, 9, Plan(4, draft), 0, 4, accepted, accepted + 1, None, 0.1, 0.2, 0.3, tokens)
        )
    assert sum(one[0] for one in sums(policy).values()) == len(lives)
    assert sum(one[1] for one in sums(policy).values()) == sum(accepted + 1 for _, accepted in lives)
