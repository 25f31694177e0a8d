"""EXP3Spec, step by step, against numbers worked out by hand."""

import math
from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.testing import FixedCosts, play
from paceline_banditspec import Exp3SpecConfig


def bits(accuracy, count, seed=1):
    random = Random(seed)
    return [random.random() < accuracy for _ in range(count)]


def losses(policy):
    return policy.state_dict()["losses"]


def test_all_arms_are_equally_likely_at_first():
    assert Exp3SpecConfig().build().probs(("a", "b", "c")) == pytest.approx(dict.fromkeys("abc", 1 / 3))


def test_the_first_two_rounds_are_those_of_the_paper(start, done):
    policy = Exp3SpecConfig().build()
    first = policy.plan(start())
    policy.observe(done(first, 1))
    # L = 4, Y = 2, p = 1/2: the estimate is (5 - 2) / (4 / 2) = 1.5.
    assert losses(policy) == {first.draft: pytest.approx(1.5)}
    # t = 2, K = 2: eta = sqrt(log 2 / 4) = 0.416277, so p = 1 / (1 + exp(0.624416)) = 0.348780.
    p = policy.probs(("good", "bad"))
    assert p[first.draft] == pytest.approx(0.348780, rel=1e-5)
    assert sum(p.values()) == pytest.approx(1.0)

    second = policy.plan(start())
    policy.observe(done(second, 4))
    assert sum(losses(policy).values()) == pytest.approx(1.5)  # Y = L + 1 loses nothing
    third = policy.plan(start())
    policy.observe(done(third, 0))
    p = math.exp(-math.sqrt(math.log(2) / 6) * 1.5)
    prob = (p if third.draft == first.draft else 1.0) / (1.0 + p)
    assert sum(losses(policy).values()) == pytest.approx(1.5 + 1.0 / prob)


def test_with_the_rate_time_is_a_loss_as_well(start, done):
    policy = Exp3SpecConfig(reward="rate").build()
    first = policy.plan(start())
    policy.observe(done(first, 1, seconds=3.0))
    # L = 4, Y = 2, T = 3, r = 2/3: (5 - 2 + 2) / 9, over p = 1/2.
    assert losses(policy) == {first.draft: pytest.approx(10 / 9)}


def test_a_single_arm_is_always_drawn(start):
    policy = Exp3SpecConfig().build()
    assert policy.probs(("only",)) == {"only": 1.0}
    assert policy.plan(start(drafts=("only",))).draft == "only"


def test_draws_have_the_probabilities_that_are_told(start, done):
    policy = Exp3SpecConfig().build(seed=4)
    policy.observe(done(policy.plan(start()), 0))
    probs = policy.probs(("good", "bad"))
    drawn = Counter(policy.plan(start()).draft for _ in range(4000))
    assert drawn["good"] / 4000 == pytest.approx(probs["good"], abs=0.03)


def test_a_decision_must_act_at_once_since_a_loss_is_weighed_by_its_probability():
    assert Exp3SpecConfig().build().requires.immediate


def test_a_round_that_was_ended_is_no_pull(start, done):
    policy = Exp3SpecConfig().build()
    policy.observe(done(policy.plan(start()), 0, ended="length"))
    assert losses(policy) == {}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_better_draft_is_found(seed):
    texts = {"bad": bits(0.3, 6000, seed=2), "good": bits(0.8, 6000)}
    rounds = play(Exp3SpecConfig().build(seed), texts)
    late = Counter(one.plan.draft for one in rounds[len(rounds) // 2 :])
    assert late["good"] > 0.8 * late.total()


def test_lengths_that_do_not_pay_are_left_alone():
    text, costs = bits(0.3, 6000), FixedCosts(1.0, 1.0)
    rounds = play(Exp3SpecConfig(arms="gammas", gammas=(0, 4)).build(), text, costs=costs)
    late = Counter(one.plan.gamma for one in rounds[len(rounds) // 2 :])
    assert late[0] > 0.7 * late.total()


def test_losses_of_the_other_reward_are_refused():
    state = Exp3SpecConfig(reward="rate").build().state_dict()
    with pytest.raises(ValueError, match="its reward is 'rate', that of this policy 'tokens'"):
        Exp3SpecConfig().build().load_state_dict(state)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1e9), min_size=1), st.integers(0, 10**6))
def test_probabilities_sum_to_1_and_fall_with_the_losses(found, rounds):
    policy = Exp3SpecConfig().build()
    policy.load_state_dict(policy.state_dict() | {"losses": found, "rounds": rounds})
    probs = policy.probs(found)
    assert sum(probs.values()) == pytest.approx(1.0)
    ranked = sorted(found, key=found.__getitem__)
    assert all(probs[a] >= probs[b] for a, b in pairwise(ranked))
