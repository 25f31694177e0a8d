"""Upper confidence bounds: by hand, on bits, and what counts as a reward."""

from dataclasses import replace
from math import log, sqrt

import pytest

from paceline.policies.metasd import DraftReward, MetaSDConfig
from paceline.testing import FixedCosts, play

from .texts import text

DRAFTS = {"a": 0, "b": 0}


def feed(policy, start, done, rounds):
    """Let each round go to the draft that the policy chooses, with the outcome that `rounds` has for it."""
    chosen = []
    for outcomes in rounds:
        plan = policy.plan(start(lags=DRAFTS))
        chosen.append(plan.draft)
        policy.observe(done(4, outcomes[plan.draft], draft=plan.draft))
    return chosen


def test_each_draft_is_tried_once_and_then_the_bound_decides(start, done):
    """mu_a = 2/4 and mu_b = 3/4 with n = 1 each: b; then n_b = 2 and mu_b = 3/8 make a the better one."""
    policy = MetaSDConfig(discount=1.0, beta=0.2, length="static").build()
    rounds = [{"a": 2, "b": 3}, {"a": 2, "b": 3}, {"a": 2, "b": 0}]
    assert feed(policy, start, done, rounds) == ["a", "b", "b"]
    bound_a = 2 / 4 + 0.2 * sqrt(2 * log(3) / 1)
    bound_b = 3 / 8 + 0.2 * sqrt(2 * log(3) / 2)
    assert bound_a > bound_b
    assert policy.plan(start(lags=DRAFTS)).draft == "a"


def test_what_is_uncertain_is_tried_although_it_was_worse(start, done):
    """n_a = 20 at 2/4, n_b = 1 at 1/4: beta above (1/4) / (sqrt(2 ln 21) (1 - 1/sqrt(20))) = .131 tries b."""
    for beta, expected in ((0.125, "a"), (0.135, "b")):
        policy = MetaSDConfig(discount=1.0, beta=beta, length="static").build()
        policy.absorb(
            {
                "a/rounds": 20.0,
                "a/rewards": 10.0,
                "b/rounds": 1.0,
                "b/rewards": 0.25,
            }
        )
        assert policy.plan(start(lags=DRAFTS)).draft == expected


def test_sums_fade_with_every_round(start, done):
    policy = MetaSDConfig(discount=0.5, length="static").build()
    policy.absorb({"a/rounds": 4.0, "a/rewards": 2.0, "b/rounds": 8.0, "b/rewards": 0.5})
    policy.plan(start(lags=DRAFTS))
    policy.observe(replace(done(4, 1, draft="a"), total_s=3.0))
    assert policy.state.drafts["a"] == DraftReward(rounds=3.0, rewards=1.25, tokens=2.0, seconds=3.0)
    assert policy.state.drafts["b"] == DraftReward(rounds=4.0, rewards=0.25)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"gamma": 4, "accepted": 0, "drafted": 0}, (1.0, 0.0)),
        ({"gamma": 4, "accepted": 2, "drafted": 2}, (1.0, 0.5)),
        ({"gamma": 0, "accepted": 0}, (1.0, 0.0)),
        ({"gamma": 4, "accepted": 2, "ended": "eos"}, None),
        ({"gamma": 4, "accepted": 0, "drafted": 0, "ended": "length"}, None),
    ],
    ids=["nothing proposed", "less proposed", "decoded plainly", "ended", "ended with nothing proposed"],
)
def test_what_counts_as_a_reward(how, expected, start, done):
    policy = MetaSDConfig(length="static").build()
    draft = policy.plan(start(lags=DRAFTS)).draft
    policy.observe(done(**how, draft=draft))
    sums = policy.state.drafts[draft]
    assert (sums.rounds, sums.rewards) == (expected or (0.0, 0.0))


def test_a_round_too_short_to_draft_is_nobodys_fault(start, done):
    policy = MetaSDConfig(length="static").build()
    plan = policy.plan(start(0, lags=DRAFTS))
    policy.observe(replace(done(0, 0), plan=plan))
    assert policy.export() == {}


def test_speed_is_tokens_over_seconds_and_not_a_mean_of_ratios(start):
    """Of a: 1 token in 1 s, then 9 in 19 s: .5 a second, though the mean of ratios is .74. Of b: .6 a second."""
    policy = MetaSDConfig(reward="speed", discount=1.0, beta=0.0).build()
    policy.absorb({"a/rounds": 2.0, "a/tokens": 10.0, "a/seconds": 20.0, "a/rewards": 2.0})
    policy.absorb({"b/rounds": 2.0, "b/tokens": 6.0, "b/seconds": 10.0, "b/rewards": 0.5})
    assert policy.plan(start(lags=DRAFTS)).draft == "b"


def test_only_speed_sees_that_the_more_accurate_draft_is_not_worth_its_price():
    bits = {"dear": text(0.9, 2000, 1), "cheap": text(0.75, 2000, 2)}
    costs = FixedCosts({"dear": 6.0, "cheap": 0.2}, 10.0)
    for reward, expected in (("acceptance", "dear"), ("speed", "cheap")):
        rounds = play(
            MetaSDConfig(reward=reward, length={"name": "static", "gamma": 4}).build(), bits, costs=costs
        )
        late = [r.plan.draft for r in rounds[-200:-5]]
        assert late.count(expected) >= 0.85 * len(late)


def test_a_draft_that_is_never_worth_drafting_with_is_left():
    bits = {"a": [False] * 1500, "b": [True] * 1500}
    rounds = play(MetaSDConfig().build(), bits, costs=FixedCosts(3.0, 10.0))
    late = [r.plan.draft for r in rounds[-60:-5]]
    assert late.count("b") >= 0.9 * len(late)
