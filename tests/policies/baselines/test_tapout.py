"""A bandit over policies: whom it asks, what it rewards, and what the arms get to see."""

import math
from collections import Counter

import pytest

from paceline import load_config
from paceline.core.errors import CapabilityError
from paceline.core.guards.policy import check_fit
from paceline.core.records import Capabilities, Plan, Requirements, TokenSignals, name_draft
from paceline.core.testing.playing import settle
from paceline.core.testing.texts import calibrated
from paceline.policies.baselines.tapout import TapOutConfig
from paceline.policies.online import OnlineConfig
from paceline.policies.static import StaticConfig
from paceline.testing import FixedCosts, play

from ..texts import text

TWO = (StaticConfig(gamma=2), StaticConfig(gamma=8))


class Listener:
    """An arm that needs a signal and writes down what happens to it."""

    needs = frozenset({"top1"})
    requires = Requirements()

    def __init__(self):
        self.planned, self.asked, self.seen = 0, [], []

    def plan(self, start):
        self.planned += 1
        return Plan(min(5, start.budget), "draft", reason="mine")

    def keep_drafting(self, signals):
        self.asked.append(signals.position)
        return False

    def observe(self, done):
        self.seen.append(done)


def with_listener(**options):
    """Make a policy of a static arm and a listener."""
    policy = TapOutConfig(arms=TWO, **options).build()
    listener = Listener()
    policy._arms[1] = listener
    return policy, listener


def take(policy, start, accepted=1, **more):
    """Take one round in which the target accepts at most so many tokens."""
    plan = name_draft(policy.plan(start), start.drafts)
    policy.observe(settle(start, plan, drafted=plan.gamma, accepted=min(accepted, plan.gamma), **more))
    return plan


def test_each_arm_is_tried_in_the_order_given_and_then_the_highest_bound_wins(start):
    policy = TapOutConfig(arms=TWO).build()
    assert [take(policy, start()).gamma for _ in range(2)] == [2, 8]
    # 2 tokens in 12 s against 2 in 18 s: 1 + c sqrt(ln 3 / 1) against 2/3 + c sqrt(ln 3 / 1), then n_0 grows
    assert take(policy, start()).gamma == 2
    rates = policy.export()
    assert rates == {
        "0-static/rounds": 2.0, "0-static/gained": 4.0, "0-static/spent": 24.0,
        "1-static/rounds": 1.0, "1-static/gained": 2.0, "1-static/spent": 18.0,
    }  # fmt: skip
    equal = (1 / 3) / (math.sqrt(math.log(4)) * (1 - math.sqrt(1 / 2)))
    for c, gamma in ((equal - 0.01, 2), (equal + 0.01, 8)):
        twin = TapOutConfig(arms=TWO, exploration=c).build()
        twin.absorb(rates)
        assert twin.plan(start()).gamma == gamma


def test_the_blended_reward_computed_by_hand(start):
    """5 of 8 accepted, gamma_max 10, a = 0.4: 0.4 * 5/10 + 0.6 * 5/8 = 0.575. Both of 2: 0.4 * 2/10 + 0.6 = 0.68."""
    policy = TapOutConfig(arms=TWO, reward="blended", max_gamma=10, blend=0.4).build()
    take(policy, start(), accepted=5)
    take(policy, start(), accepted=5)
    assert policy.export()["0-static/gained"] == pytest.approx(0.68)
    assert policy.export()["1-static/gained"] == pytest.approx(0.575)
    assert policy.export()["1-static/spent"] == 1.0


def test_blended_rewards_are_compared_as_they_are(start):
    """Means 0.5 of two rounds and 0.4 of one: the bounds meet at 0.1 = c sqrt(ln 4) (1 - sqrt(1/2))."""
    statistics = {"0-static/rounds": 2, "0-static/gained": 1.0, "0-static/spent": 2}
    statistics |= {"1-static/rounds": 1, "1-static/gained": 0.4, "1-static/spent": 1}
    equal = 0.1 / (math.sqrt(math.log(4)) * (1 - math.sqrt(1 / 2)))
    for c, gamma in ((equal - 0.01, 2), (equal + 0.01, 8)):
        policy = TapOutConfig(arms=TWO, reward="blended", exploration=c).build()
        policy.absorb(statistics)
        assert policy.plan(start()).gamma == gamma


def test_the_blended_reward_is_0_without_drafting_and_1_at_most(start):
    policy = TapOutConfig(
        arms=({"name": "static", "gamma": 0}, {"name": "static", "gamma": 8}), reward="blended", max_gamma=3
    ).build()
    take(policy, start(), accepted=8)
    take(policy, start(), accepted=8)
    assert "0-static/gained" not in policy.export()
    assert policy.export()["1-static/gained"] == 1.0


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("accuracy", "evenness", "share"), [(0.6, 1.0, 0.05), (0.8, 4.0, 0.2)])
def test_with_stop_rules_it_comes_close_to_the_best_of_them(accuracy, evenness, share, seed, speed):
    bits, signals = calibrated(4000, accuracy=accuracy, evenness=evenness, seed=seed)
    config = TapOutConfig()
    alone = [speed(arm.build(), bits, share=share, signals=signals) for arm in config.arms]
    assert max(alone) > 1.1 * min(alone)
    assert speed(config.build(), bits, share=share, signals=signals) >= 0.93 * max(alone)


@pytest.mark.parametrize(("alpha", "share"), [(0.5, 0.3), (0.9, 0.05)])
def test_it_finds_the_best_of_several_gammas(alpha, share, speed):
    bits = text(alpha, 4000)
    config = TapOutConfig(arms=tuple(StaticConfig(gamma=gamma) for gamma in (0, 1, 4, 10)))
    best = max(speed(arm.build(), bits, share=share) for arm in config.arms)
    assert speed(config.build(), bits, share=share) >= 0.93 * best


def test_the_blended_reward_can_prefer_a_slower_arm():
    """Drafting is dear: one token a round is fastest, and ten are rewarded more."""
    arms = (StaticConfig(gamma=1), StaticConfig(gamma=10))
    chosen = {}
    for reward in ("throughput", "blended"):
        config = TapOutConfig(arms=arms, reward=reward, blend=1.0)
        rounds = play(config.build(), text(0.8, 3000), costs=FixedCosts(1.0, 1.0))
        chosen[reward] = Counter(done.plan.gamma for done in rounds).most_common(1)[0][0]
    assert chosen == {"throughput": 1, "blended": 10}


def test_only_the_arm_that_planned_is_asked_to_keep(start):
    policy, listener = with_listener()
    other = Listener()
    other.needs = frozenset()
    policy._arms[0] = other
    policy.plan(start())
    assert policy.keep_drafting(TokenSignals(0, top1=0.5))
    assert other.asked == listener.asked == []
    plan = name_draft(policy.plan(start()), start().drafts)  # the round before was abandoned
    policy.observe(settle(start(), plan, drafted=2, accepted=2))
    policy.plan(start())
    assert not policy.keep_drafting(TokenSignals(0, top1=0.5))
    assert listener.asked == [0]


def test_the_plan_says_whose_it_is(start):
    assert TapOutConfig(arms=TWO).build().plan(start()).reason == "0-static"


@pytest.mark.parametrize(("share", "seen"), [(True, 6), (False, 1)])
def test_arms_see_every_round_or_only_their_own(share, seen, start):
    policy, listener = with_listener(share=share, exploration=0.0)
    for _ in range(6):
        take(policy, start(), accepted=2)
    assert listener.planned == 1
    assert len(listener.seen) == seen


def test_an_estimate_learns_from_rounds_of_other_arms(start):
    policy = TapOutConfig(arms=(StaticConfig(gamma=8), OnlineConfig()), exploration=0.0).build()
    take(policy, start(), accepted=8)
    assert policy.state_dict()["held"]["1-online"]["rounds"] == [[8, 0]]


def test_a_bandit_as_an_arm_takes_no_credit_for_rounds_of_other_arms(start):
    inner = TapOutConfig(arms=(StaticConfig(gamma=2), StaticConfig(gamma=4)))
    policy = TapOutConfig(arms=(StaticConfig(gamma=4), inner, inner)).build()
    one, other = list(policy.state_dict()["held"].values())[1:]
    assert take(policy, start(), accepted=4).gamma == 4
    assert list(policy.state_dict()["held"].values())[1:] == [one, other]
    assert take(policy, start(), accepted=4).reason == "1-tapout/0-static"
    after = list(policy.state_dict()["held"].values())
    assert after[1] != one
    assert after[2] == other


def test_each_of_several_rounds_of_earlier_plans_is_credited_to_its_arm(start):
    policy = TapOutConfig(arms=TWO).build()
    first = name_draft(policy.plan(start()), start().drafts)
    done = settle(start(), first, drafted=2, accepted=1)
    policy.observe(done)
    second = name_draft(policy.plan(start()), start().drafts)
    policy.observe(done)
    policy.observe(settle(start(), second, drafted=8, accepted=1))
    assert (
        second.gamma,
        policy.export()["0-static/rounds"],
        policy.export()["1-static/rounds"],
    ) == (8, 2, 1)


def test_a_round_that_nobody_here_planned_is_credited_to_no_arm(done):
    policy = TapOutConfig(arms=TWO).build()
    policy.observe(done(2, 1))
    assert policy.export() == {}


@pytest.mark.parametrize("why", ["eos", "stop", "length"])
def test_cut_rounds_and_rounds_that_read_the_prompt_are_not_credited(why, start):
    policy = TapOutConfig(arms=TWO).build()
    take(policy, start(), ended=why)
    take(policy, start(lags={"draft": 500}))
    assert policy.export() == {}


def test_it_needs_and_requires_what_its_arms_do_together():
    policy = TapOutConfig(arms=("svip", "online", {"name": "static", "gamma": 0})).build()
    assert policy.requires == Requirements(zero_gamma=True, latency="fused", signals=frozenset({"entropy"}))
    assert TapOutConfig(arms=TWO).build().requires == Requirements(latency="fused")
    assert TapOutConfig(arms=TWO, reward="blended").build().requires == Requirements()


def test_a_draft_without_the_signals_of_one_arm_is_refused_before_the_first_token():
    class Mute:
        signals = frozenset()

    with pytest.raises(CapabilityError, match="entropy, prob, which the draft 'lookup' does not deliver"):
        check_fit(TapOutConfig().build(), Capabilities(), {"lookup": Mute()})


def test_arms_of_the_same_kind_get_seeds_of_their_own():
    policy = TapOutConfig(arms=("thompson", "thompson")).build(3)
    first, second = (arm["random"] for arm in policy.state_dict()["held"].values())
    assert first != second
    assert TapOutConfig(arms=("thompson", "thompson")).build(3).state_dict() == policy.state_dict()


def test_a_run_file_names_its_arms_and_survives_being_written():
    config = load_config({"policy": {"name": "tapout", "arms": ["svip", {"name": "static", "gamma": 3}]}})
    assert [arm.name for arm in config.policy.arms] == ["svip", "static"]
    assert load_config(config.model_dump(mode="json")) == config


def test_the_state_of_other_arms_is_refused():
    other = TapOutConfig(arms=("static", "online")).build()
    with pytest.raises(ValueError, match=r"its rates\.arms is"):
        TapOutConfig(arms=TWO).build().load_state_dict(other.state_dict())
