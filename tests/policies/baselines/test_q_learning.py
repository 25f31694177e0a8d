"""Q-learning of gamma: its rule by hand, its states, and what it comes to."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.records import Capabilities, DraftState, Plan, RoundStart, name_draft
from paceline.core.testing.playing import settle
from paceline.policies.baselines.q_learning import OUTCOMES, SIZES, QLearningConfig, Values, state_after
from paceline.policies.static import StaticConfig
from paceline.testing import FixedCosts, play

from ..texts import text


def test_a_cell_that_was_never_visited_borrows_from_its_column():
    values = Values(2, 2)
    assert (values.of(0, 1), values.best(0)) == (0.0, 0.0)
    values.learn(0, 1, 4.0, 0.1)
    assert (values.of(0, 1), values.of(1, 1), values.of(1, 0)) == (4.0, 4.0, 0.0)
    values.learn(1, 1, -2.0, 0.1)
    assert (values.of(0, 1), values.of(1, 1), values.best(1)) == (4.0, -2.0, 0.0)


def test_first_experiences_are_averaged_and_later_ones_weigh_alike():
    values = Values(1, 1)
    for worth in (1.0, 2.0, 6.0):
        values.learn(0, 0, worth, 0.25)
    assert values.of(0, 0) == pytest.approx(3.0)
    values.learn(0, 0, 7.0, 0.25)
    assert values.of(0, 0) == pytest.approx(4.0)
    values.learn(0, 0, 8.0, 0.25)
    assert values.of(0, 0) == pytest.approx(5.0)


GREEDY = {"exploration": 0.0, "least_exploration": 0.0}


def take(policy, start, accepted=2, **more):
    """Take one round in which the target accepts at most so many tokens."""
    plan = name_draft(policy.plan(start), start.drafts)
    policy.observe(settle(start, plan, drafted=plan.gamma, accepted=min(accepted, plan.gamma), **more))
    return plan


def value(policy, state, arm):
    return policy.state_dict()["values"]["values"][state][arm]


def test_the_rule_computed_by_hand(start):
    """Pace 1/10 after a plain round of 10 s. Then gamma 2 with both tokens accepted: 3 tokens in 12 s, r = 3 - 1.2.

    The round leads from state 0 to that of gamma 2-3 with all accepted, 2 * 3 + 2 = 8, where all is still worth 0.
    """
    policy = QLearningConfig(gammas=(0, 2), learning_rate=0.5, discount=0.5, **GREEDY).build()
    assert take(policy, start()).gamma == 0
    assert take(policy, start()).gamma == 0  # tried now: the round before only told the pace
    assert value(policy, 0, 0) == pytest.approx(0.0)  # 1 - 10 / 10
    assert take(policy, start()).gamma == 2
    assert value(policy, 0, 1) == pytest.approx(1.8)
    assert policy.state_dict()["state"] == 8
    # Pace is (0.9801 + 0.99 + 3) / (9.801 + 9.9 + 12). In state 8 gamma 2 borrows the 1.8 and is planned; both fail.
    assert take(policy, start(), accepted=0).gamma == 2
    reward = 1 - 12 * 4.9701 / 31.701
    assert value(policy, 8, 1) == pytest.approx(
        reward + 0.5 * 1.8
    )  # the state of nothing accepted borrows it too
    assert value(policy, -1, 1) == pytest.approx(1.8 + 0.5 * (reward + 0.5 * 1.8 - 1.8))
    assert policy.state_dict()["state"] == 6


def test_each_gamma_is_tried_at_first(start):
    policy = QLearningConfig(gammas=(0, 1, 4), **GREEDY).build()
    plans = [take(policy, start()) for _ in range(5)]
    assert [plan.gamma for plan in plans[:4]] == [0, 0, 1, 4]
    assert [plan.reason for plan in plans] == ["warm-up"] * 4 + [None]


@pytest.mark.parametrize(
    ("gamma", "drafted", "accepted", "state"),
    [
        (0, 0, 0, 0),
        (1, 1, 0, 3),
        (1, 1, 1, 5),
        (3, 3, 2, 7),
        (4, 4, 4, 11),
        (12, 5, 5, 14),
        (12, 0, 0, 12),
        (99, 99, 1, 16),
    ],
)
def test_a_state_is_the_size_of_gamma_and_the_outcome(gamma, drafted, accepted, state, done):
    assert state_after(done(gamma, accepted, drafted=drafted)) == state
    assert state_after(done(gamma, accepted, drafted=drafted, ended="eos")) == 0


@settings(deadline=None)
@given(st.integers(0, 10_000), st.data())
def test_there_are_no_other_states(gamma, data):
    start = RoundStart(0, 0, 9, gamma, {"draft": DraftState(0)}, FixedCosts())
    drafted = data.draw(st.integers(0, gamma))
    accepted = data.draw(st.integers(0, drafted))
    done = settle(start, name_draft(Plan(gamma), start.drafts), drafted=drafted, accepted=accepted)
    assert 0 <= state_after(done) < SIZES * OUTCOMES


@pytest.mark.parametrize(("alpha", "share"), [(0.5, 0.3), (0.8, 0.1), (0.7, 0.9)])
@pytest.mark.parametrize("seed", [0, 1])
def test_on_steady_text_it_comes_near_the_best_of_its_gammas(alpha, share, seed, speed):
    bits = text(alpha, 4000, seed)
    best = max(speed(StaticConfig(gamma=g).build(), bits, share=share) for g in QLearningConfig().gammas)
    assert speed(QLearningConfig().build(seed), bits, share=share) >= 0.85 * best


def test_it_learns_that_outcomes_come_in_runs(speed):
    """Long stretches are always accepted or never: after a refusal the next draft token is refused too."""
    bits = ([True] * 60 + [False] * 60) * 50
    best = max(speed(StaticConfig(gamma=g).build(), bits, share=0.3) for g in QLearningConfig().gammas)
    assert speed(QLearningConfig().build(0), bits, share=0.3) > 1.03 * best


def test_random_gammas_become_rare_and_follow_from_the_seed():
    def gammas(seed):
        return [
            (done.plan.gamma, done.plan.reason)
            for done in play(QLearningConfig().build(seed), text(0.7, 3000))
        ]

    first = gammas(1)
    assert first == gammas(1) != gammas(2)
    early, late = first[:50], first[-500:]
    assert sum(reason == "random" for _, reason in early) >= 5
    assert 1 <= sum(reason == "random" for _, reason in late) <= 30


@pytest.mark.parametrize("why", ["eos", "stop", "length"])
def test_a_round_that_was_ended_teaches_nothing_and_ends_the_chain(why, start):
    policy = QLearningConfig(**GREEDY).build()
    for _ in range(20):
        take(policy, start())
    before = policy.state_dict()
    take(policy, start(), ended=why)
    after = policy.state_dict()
    assert after == before | {"state": 0, "random": after["random"]}


def test_a_request_starts_as_after_plain_decoding(start):
    policy = QLearningConfig(gammas=(2, 4)).build()
    take(policy, start())
    assert policy.state_dict()["state"] != 0
    policy.plan(replace(start(), index=0))
    assert policy.state_dict()["state"] == 0


def test_a_round_of_no_listed_gamma_changes_the_state_alone(done):
    policy = QLearningConfig().build()
    for _ in range(2):
        policy.observe(done(5, 1))
    state = policy.state_dict()
    assert (state["state"], state["taught"]) == (10, 0)
    assert not any(any(row) for row in state["values"]["values"])


def test_near_the_end_and_on_engines_with_fixed_gammas_only_what_can_run_is_planned(start):
    policy = QLearningConfig(gammas=(1, 4, 8), exploration=1.0, decay=1.0).build()
    assert {take(policy, start(5)).gamma for _ in range(60)} == {1, 4}
    assert take(policy, start(0)).gamma == 0
    engine = Capabilities(gammas=(4, 8), zero_gamma=False)
    assert {take(policy, start(capabilities=engine)).gamma for _ in range(60)} == {4, 8}
