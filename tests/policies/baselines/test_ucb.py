"""UCB1 over gammas: its cold start, what it counts, and where it ends up."""

from collections import Counter
from dataclasses import replace

import pytest

from paceline.core.errors import ConfigError
from paceline.core.records import Capabilities, Plan, StopRule, name_draft
from paceline.core.testing.playing import settle
from paceline.policies.baselines.ucb import UcbConfig
from paceline.policies.static import StaticConfig
from paceline.testing import FixedCosts, play

from ..texts import text


def take(policy, start, accepted=2, **more):
    """Take one round in which the target accepts at most so many tokens."""
    plan = name_draft(policy.plan(start), start.drafts)
    policy.observe(settle(start, plan, drafted=plan.gamma, accepted=min(accepted, plan.gamma), **more))
    return plan


def trained(gammas, sums, **options):
    """Make a policy that knows rounds, tokens and seconds of each arm."""
    policy = UcbConfig(gammas=gammas, **options).build()
    rates = policy.state.rates
    rates.rounds, rates.gained, rates.spent = (list(map(float, kind)) for kind in zip(*sums, strict=True))
    policy.state.seen = [True] * len(gammas)
    return policy


def test_each_arm_is_tried_smallest_first_and_its_first_round_forgotten(start):
    policy = UcbConfig(gammas=(0, 1, 2, 4), cold_start=1000.0).build()
    plans = [take(policy, start()) for _ in range(8)]
    assert [plan.gamma for plan in plans] == [0, 0, 1, 1, 2, 2, 4, 4]
    assert {plan.reason for plan in plans} == {"warm-up"}
    assert [policy.export()[f"{gamma}/rounds"] for gamma in (0, 1, 2, 4)] == [1.0] * 4
    assert take(policy, start()).reason is None


def test_the_round_that_reads_the_prompt_is_the_one_that_is_forgotten(start):
    policy = UcbConfig(gammas=(1, 2), cold_start=1000.0).build()
    assert take(policy, start(lags={"draft": 2000})).gamma == 1
    assert [take(policy, start()).gamma for _ in range(2)] == [1, 2]
    assert policy.export()["1/rounds"] == 1.0


def test_a_slow_first_round_does_not_condemn_an_arm(start):
    policy = UcbConfig(gammas=(0, 4), cold_start=1000.0).build()
    for _ in range(4):
        plan = name_draft(policy.plan(start()), start().drafts)
        done = settle(start(), plan, drafted=plan.gamma, accepted=plan.gamma)
        first = not policy.state_dict()["seen"][plan.gamma // 4]
        policy.observe(replace(done, total_s=done.total_s * (1000.0 if first else 1.0)))
    assert policy.export()["4/spent"] == pytest.approx(14.0)
    assert policy.plan(start()).gamma == 4


def test_a_step_computed_by_hand(start):
    """Rates 0.5, 1.5 and 1 of 1, 10 and 10 rounds, so 1/3, 1 and 2/3 of the best; sqrt(ln 22 / n) is 1.758 and 0.556.

    The first bound is 0.333 + 1.758 c, the second 1 + 0.556 c: they meet at c = 0.5546.
    """
    sums = [(1, 5, 10), (10, 30, 20), (10, 20, 20)]
    assert trained((0, 2, 4), sums, exploration=0.55).plan(start()).gamma == 2
    assert trained((0, 2, 4), sums, exploration=0.56).plan(start()).gamma == 0


@pytest.mark.parametrize(("draft_s", "cold_start"), [(0.1, 0.1), (1.0, 0.25), (3.0, 0.5)])
def test_the_first_tries_waste_at_most_their_share_of_the_time(draft_s, cold_start):
    """In the worst case nothing is ever accepted: whatever drafting adds to a plain step is lost."""
    policy = UcbConfig(cold_start=cold_start).build()
    rounds = play(policy, [False] * 6000, costs=FixedCosts(draft_s, 1.0))
    spent = wasted = 0.0
    for done in rounds:
        if done.plan.reason == "warm-up":
            wasted += done.total_s - 1.0
            assert wasted <= cold_start * spent + 1e-9 or not spent
        spent += done.total_s
    assert {done.plan.gamma for done in rounds if done.plan.reason} == {0, 1, 2, 3, 4, 6, 8, 12}


@pytest.mark.parametrize(
    ("alpha", "share", "tokens"), [(0.5, 0.3, 4000), (0.8, 0.1, 4000), (0.9, 0.05, 4000), (0.7, 0.9, 4000)]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_on_steady_text_it_comes_close_to_the_best_of_its_arms(alpha, share, tokens, seed, speed):
    bits = text(alpha, tokens, seed)
    best = max(speed(StaticConfig(gamma=g).build(), bits, share=share) for g in UcbConfig().gammas)
    assert speed(UcbConfig().build(), bits, share=share) >= 0.93 * best


def test_where_drafting_cannot_pay_it_decodes_plainly():
    rounds = play(UcbConfig().build(), text(0.05, 2000), costs=FixedCosts(1.0, 1.0))
    assert Counter(done.plan.gamma for done in rounds[-500:])[0] > 430


def test_near_the_end_of_the_text_another_arm_is_chosen_and_not_a_part_of_one(start):
    policy = trained((0, 2, 8), [(50, 10, 50), (50, 100, 200), (1000, 3000, 1000)])
    assert policy.plan(start(100)).gamma == 8
    before = policy.export()
    for budget, gamma in ((7, 2), (2, 2), (1, 0), (0, 0)):
        assert take(policy, start(budget)).gamma == gamma
    grown = {key for key, value in policy.export().items() if value != before[key]}
    assert grown == {f"{gamma}/{kind}" for gamma in (0, 2) for kind in ("rounds", "gained", "spent")}


def test_where_no_arm_is_left_it_drafts_less_and_counts_nothing(start):
    policy = trained((3, 8), [(1, 1, 1)] * 2)
    before = policy.state_dict()
    assert [take(policy, start(budget)).gamma for budget in (2, 1, 0)] == [2, 1, 0]
    assert policy.state_dict() == before


def test_an_engine_with_fixed_gammas_runs_the_arms_it_has(start):
    policy = UcbConfig(gammas=(0, 1, 3, 8), cold_start=1000.0).build()
    engine = Capabilities(gammas=(1, 3, 7), zero_gamma=False)
    assert {take(policy, start(capabilities=engine)).gamma for _ in range(20)} == {1, 3}


def test_an_engine_that_has_none_of_the_arms_is_refused(start):
    policy = UcbConfig(gammas=(0, 1, 2)).build()
    with pytest.raises(ConfigError, match="`gammas` is 0, 1, 2, but this engine drafts 4, 8 tokens"):
        policy.plan(start(capabilities=Capabilities(gammas=(4, 8))))


@pytest.mark.parametrize("why", ["eos", "stop", "length"])
def test_a_round_that_was_ended_is_left_out(why, start):
    policy = trained((0, 4), [(5, 10, 10), (5, 20, 10)])
    before = policy.state_dict()
    take(policy, start(), ended=why)
    assert policy.state_dict() == before


def test_a_round_that_first_read_the_prompt_is_left_out(start):
    policy = trained((0, 4), [(5, 10, 10), (5, 20, 10)])
    before = policy.state_dict()
    assert take(policy, start(lags={"draft": 2000})).gamma == 4
    assert policy.state_dict() == before


def test_a_draft_that_finds_nothing_counts_for_the_gamma_that_was_planned(start):
    policy = trained((0, 4), [(5, 10, 10), (5, 20, 10)])
    plan = name_draft(policy.plan(start()), start().drafts)
    policy.observe(settle(start(), plan, drafted=0, accepted=0))
    assert policy.export()["4/gained"] == 21.0
    assert policy.export()["4/spent"] == 20.0


def test_a_round_counts_for_the_gamma_it_was_planned_with_whatever_was_planned_since(start, done):
    policy = trained((0, 4), [(5, 10, 10), (5, 20, 10)])
    before = policy.export()
    policy.observe(replace(done(4, 1), plan=Plan(3, "draft")))
    policy.observe(replace(done(4, 1), plan=Plan(4, "draft", StopRule("top1", below=0.5))))
    assert policy.export() == before
    policy.plan(start())
    for _ in range(2):
        policy.observe(done(4, 1))
    assert policy.export()["4/rounds"] == before["4/rounds"] + 2


def test_replicas_pool_their_sums(start):
    config = UcbConfig(cold_start=1000.0)
    first, second = config.build(), config.build()
    for _ in range(40):
        take(first, start())
        take(second, start(), accepted=6)
    total = config.build()
    total.absorb(first.export())
    total.absorb(second.export())
    assert total.export()["8/gained"] == first.export()["8/gained"] + second.export()["8/gained"]
    assert total.plan(start()).reason is None


def test_the_state_of_other_gammas_is_refused():
    with pytest.raises(ValueError, match=r"its rates\.arms is"):
        UcbConfig(gammas=(0, 3)).build().load_state_dict(UcbConfig(gammas=(0, 4)).build().state_dict())
