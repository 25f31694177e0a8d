"""Hedge over drafts: a trial by hand, on bits, and who is asked when.

The expected tokens of a round from scores: against the source's own formula.

Hedge with fixed share, step by step.
"""

from dataclasses import replace
from math import exp, log, prod, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.core.records import Plan
from paceline.policies.hedge import HedgeConfig, RunLengths, Weights
from paceline.policies.metasd import MetaSDConfig
from paceline.testing import FixedCosts, play

from .texts import text


def source(scores):
    """Return L of a block by the source's formula: K scores, and a last one of 0."""
    g = [*scores, 0.0]
    return sum((k + 1) * (1 - g[k]) * prod(g[:k]) for k in range(len(g)))


def survival_of(scores, size=4, keep=1.0):
    survival = RunLengths(size)
    for score in scores:
        survival.add(score, keep)
    return survival


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 4))
def test_the_means_are_those_of_every_block_in_the_text(scores, k):
    survival = survival_of(scores)
    blocks = [prod(scores[t : t + k]) for t in range(len(scores) - k + 1)]
    assert survival.counts[k - 1] == len(blocks)
    assert survival.sums[k - 1] == pytest.approx(sum(blocks))


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=40, max_size=60))
def test_on_a_long_text_the_mean_is_that_of_the_sources_formula(scores):
    """Blocks near the end are not over yet, so the two differ by at most a block in the number of places."""
    size = 3
    blocks = [source(scores[t : t + size]) for t in range(len(scores) - size + 1)]
    mean = sum(blocks) / len(blocks)
    assert survival_of(scores, size).tokens(size) == pytest.approx(mean, abs=0.25)


def test_old_tokens_fade():
    survival = survival_of([0.0] * 50 + [1.0] * 50, size=1, keep=0.9)
    assert survival.tokens(1) == pytest.approx(2.0, abs=0.01)


def test_blocks_do_not_reach_over_a_pause():
    survival = survival_of([1.0, 1.0], size=2)
    survival.pause()
    survival.add(0.0, 1.0)
    assert survival.counts == [3.0, 1.0]
    assert survival.sums == [2.0, 1.0]


def test_where_no_block_was_as_long_yet_the_first_probability_stands_in():
    assert list(survival_of([0.5], size=3).acceptance_probs()) == [0.5, 0.5, 0.5]
    assert list(RunLengths(2).acceptance_probs()) == [0.0, 0.0]


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.5, 1))
def test_probabilities_are_probabilities(scores, keep):
    assert all(
        0.0 <= acceptance_prob <= 1.0 for acceptance_prob in survival_of(scores, keep=keep).acceptance_probs()
    )


def test_a_longer_block_survives_no_better_than_a_shorter_one():
    """Faded means need not fall with k: .5, .8, .25 are read as .5, .5, .25."""
    survival = RunLengths(3)
    survival.sums, survival.counts = [0.5, 0.8, 0.25], [1.0, 1.0, 1.0]
    assert list(survival.acceptance_probs()) == [0.5, 1.0, 0.5]


def test_a_step_by_hand_without_share():
    weights = Weights(0.0)
    weights.update({"a": 0.0, "b": 0.5}, ["a", "b"])
    eta = sqrt(8 * log(2) / 1)
    assert weights.of("b") / weights.of("a") == pytest.approx(exp(-eta * 0.5))
    weights.update({"a": 0.2, "b": 0.0}, ["a", "b"])
    second = sqrt(8 * log(2) / 2)
    assert weights.of("b") / weights.of("a") == pytest.approx(exp(-eta * 0.5 + second * 0.2))


def test_a_step_by_hand_with_share():
    weights = Weights(0.1)
    weights.update({"a": 0.0, "b": 1.0}, ["a", "b"])
    ratio = exp(-sqrt(8 * log(2)))
    lost = 2 * ratio / (1 + ratio)
    assert weights.of("b") == pytest.approx(0.9 * lost + 0.1)
    assert weights.of("a") == pytest.approx(0.9 * (2 - lost) + 0.1)


def test_who_sleeps_keeps_its_weight():
    weights = Weights(0.0)
    weights.update({"a": 0.0, "c": 1.0}, ["a", "b", "c"])
    assert weights.of("b") == 1.0
    assert weights.of("a") > 1.0 > weights.of("c")


@given(
    st.lists(st.lists(st.none() | st.floats(0, 1), min_size=3, max_size=3), max_size=60),
    st.sampled_from([0.0, 0.02, 0.5]),
)
def test_weights_are_one_on_average_and_never_vanish(trials, share):
    weights = Weights(share)
    for losses in trials:
        awake = {name: loss for name, loss in zip("abc", losses, strict=True) if loss is not None}
        if len(awake) > 1:
            weights.update(awake, "abc")
    assert sum(map(weights.of, "abc")) == pytest.approx(3.0)
    assert min(map(weights.of, "abc")) >= min(share / 3, 1e-12)


def test_the_rate_stops_falling_where_the_share_has_forgotten():
    weights = Weights(0.02)
    for _ in range(500):
        weights.update({"a": 0.0, "b": 1.0}, "ab")
    assert weights.trials == 50.0


def test_a_comeback_takes_as_long_after_many_trials_as_after_a_few():
    def comeback(trials):
        weights = Weights(0.02)
        for _ in range(trials):
            weights.update({"a": 0.0, "b": 0.3}, "ab")
        needed = 0
        while weights.of("b") <= weights.of("a"):
            weights.update({"a": 0.3, "b": 0.0}, "ab")
            needed += 1
        return needed

    assert comeback(5000) == comeback(500) <= 60


DRAFTS = {"a": 0, "b": 0}


def test_a_trial_by_hand(start, done):
    """Scores of a: 1 1 0, so Q_1 = 2/3 and Q_2 = 1/2, of the blocks 1 1 and 1 0. Of b: 0 1 0, so Q_1 = 1/3 and Q_2 = 0.

    A draft token takes 1 s and a verification 10. Per token a takes 11 / (5/3) = 6.6 s with gamma 1 and
    12 / (13/6) = 5.54 s with gamma 2; b takes 11 / (4/3) = 8.25 s with gamma 1 and 12 / (4/3) = 9 s with gamma 2.
    """
    policy = HedgeConfig(max_gamma=2, share=0.0, window=10**9, length="static").build()
    plan = policy.plan(start(lags=DRAFTS))
    assert (plan.draft, plan.score) == ("a", {"b"})
    policy.observe(replace(done(4, 2, draft="a"), scores={"b": (0.0, 1.0, 0.0)}))
    policy.plan(start(lags=DRAFTS))
    state = policy.state
    assert state.seconds == pytest.approx({"a": 12 / (13 / 6), "b": 11 / (4 / 3)})
    loss = 1 - (12 / (13 / 6)) / (11 / (4 / 3))
    assert state.weights.of("b") / state.weights.of("a") == pytest.approx(exp(-sqrt(8 * log(2)) * loss))
    assert (state.weights.trials, state.scored) == (1.0, set())


def test_a_lag_is_no_loss(start, done):
    """A draft is judged by what it could do, not by the cost to wake it; that is weighed when drafts change."""
    seconds = []
    for lag in (0, 5000):
        policy = HedgeConfig(length="static").build()
        policy.plan(start(lags=DRAFTS))
        policy.observe(replace(done(4, 2, draft="a"), scores={"b": (0.0, 1.0, 0.0)}))
        costs = FixedCosts(1.0, 10.0, catch_up_s=0.5)
        policy.plan(start(lags={"a": 0, "b": lag}, costs=costs))
        seconds.append(policy.state.seconds)
    assert seconds[1] == pytest.approx(seconds[0])


def test_who_was_not_heard_sleeps_through_the_trial(start, done):
    policy = HedgeConfig(share=0.0, length="static").build()
    lags = {"a": 0, "b": 0, "c": 0}
    policy.plan(start(lags=lags))
    policy.observe(replace(done(4, 2, draft="a"), scores={"b": (0.0, 1.0, 0.0)}))
    policy.plan(start(lags=lags))
    state = policy.state
    assert state.weights.of("c") == 1.0
    loss = 1 - state.seconds["a"] / state.seconds["b"]
    ratio = state.weights.of("b") / state.weights.of("a")
    assert ratio == pytest.approx(exp(-sqrt(8 * log(3)) * loss))


def test_a_trial_needs_two_that_were_heard(start, done):
    policy = HedgeConfig(length="static").build()
    policy.plan(start(lags=DRAFTS))
    policy.observe(done(4, 2, draft="a"))
    policy.plan(start(lags=DRAFTS))
    assert policy.state.weights.trials == 0.0
    assert policy.state.scored == {"a"}


@pytest.mark.parametrize(
    ("how", "heard"),
    [
        ({"accepted": 2}, [1.0, 1.0, 0.0]),
        ({"accepted": 4}, [1.0] * 4),
        ({"accepted": 2, "drafted": 2}, [1.0, 1.0]),
        ({"accepted": 2, "ended": "eos"}, [1.0, 1.0]),
        ({"accepted": 0, "drafted": 0}, [0.0]),
        ({"accepted": 0, "drafted": 0, "ended": "length"}, []),
    ],
    ids=[
        "refused",
        "accepted as a whole",
        "less proposed",
        "ended",
        "nothing proposed",
        "ended with nothing",
    ],
)
def test_the_verdict_scores_the_draft_that_ran(how, heard, start, done):
    policy = HedgeConfig(window=10**9, length="static").build()
    policy.plan(start(lags=DRAFTS))
    policy.observe(done(4, draft="a", **how))
    run_lengths = policy.state.run_lengths["a"]
    assert (run_lengths.sums[0], run_lengths.counts[0]) == pytest.approx((sum(heard), len(heard)))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    "config",
    [
        HedgeConfig(),
        HedgeConfig(sample=True, share=0.02),
        HedgeConfig(length={"name": "static", "gamma": 3}),
        MetaSDConfig(),
        MetaSDConfig(reward="speed"),
    ],
)
def test_hedge_and_metasd_end_up_with_the_better_draft_and_follow_when_they_swap_roles(config, seed):
    n = 1200
    bits = {
        "a": text(0.5, n, seed) + text(0.85, n, seed + 10),
        "b": text(0.85, n, seed + 20) + text(0.5, n, seed + 30),
    }
    rounds = play(config.build(), bits)
    before = [r.plan.draft for r in rounds if n / 2 < r.position < n]
    after = [r.plan.draft for r in rounds if r.position > 1.6 * n]
    assert before.count("b") >= 0.8 * len(before)
    assert after.count("a") >= 0.8 * len(after)


def test_time_is_part_of_the_loss():
    bits = {"dear": text(0.9, 2000, 1), "cheap": text(0.75, 2000, 2)}
    rounds = play(HedgeConfig().build(), bits, costs=FixedCosts({"dear": 6.0, "cheap": 0.2}, 10.0))
    late = [r.plan.draft for r in rounds[-200:-5]]
    assert late.count("cheap") >= 0.95 * len(late)


def test_the_draft_at_rest_is_found_without_ever_being_run():
    """All that is known of b comes from scores, until it is chosen for good."""
    bits = {"a": text(0.3, 600, 1), "b": text(0.95, 600, 2)}
    rounds = play(HedgeConfig(overhead=1.0).build(), bits)
    first = next(i for i, r in enumerate(rounds) if r.plan.draft == "b")
    assert 0 < first <= 5
    assert all(r.plan.draft == "b" for r in rounds[first:-2])


def test_scoring_takes_no_more_than_its_part_of_the_time():
    for part in (0.01, 0.05):
        rounds = play(HedgeConfig(overhead=part).build(), {"a": text(0.7, 4000, 1), "b": text(0.6, 4000, 2)})
        scoring = sum(r.score_s for r in rounds)
        assert 0.8 * part <= scoring / sum(r.total_s for r in rounds) <= 1.05 * part


def test_a_draft_that_scores_for_nothing_is_scored_every_round():
    bits = {"small": text(0.8, 1500, 1), "lookup": text(0.2, 1500, 2)}
    rounds = play(HedgeConfig().build(), bits, costs=FixedCosts({"small": 1.0, "lookup": 0.0}, 10.0))
    ran = [r for r in rounds[:-1] if r.plan.draft == "small"]
    assert len(ran) >= 0.95 * len(rounds)
    assert all("lookup" in r.scores for r in ran)


def test_a_round_without_drafting_lets_all_of_them_score():
    policy = HedgeConfig(overhead=1.0, length={"name": "static", "gamma": 0}).build()
    bits = {"a": text(0.2, 100, 1), "b": text(0.3, 100, 2)}
    assert all(r.plan.score == {"a", "b"} for r in play(policy, bits, costs=FixedCosts(0.0, 10.0)))


def test_who_has_nothing_to_propose_is_passed_over_and_not_asked(start, done):
    policy = HedgeConfig(overhead=1.0, length="static").build()
    plan = policy.plan(start(lags=DRAFTS, match_lengths={"a": 0}))
    assert (plan.draft, plan.score) == ("b", frozenset())
    policy.observe(done(4, 2, draft="b"))
    plan = policy.plan(start(lags=DRAFTS, match_lengths={"a": 3}))
    assert (plan.draft, plan.score) == ("a", {"b"})


def trained(start, done, *, rounds=30):
    """Return a policy that runs a, and has just heard that b is much better."""
    policy = HedgeConfig(overhead=1.0, length="static").build()
    policy.plan(start(lags=DRAFTS))
    policy.observe(replace(done(4, 1, draft="a"), scores={"b": (1.0, 1.0)}))
    return policy


def test_a_change_of_draft_has_to_earn_back_what_catching_up_costs(start, done):
    """b saves some 4 s a token, and catching up on 400 tokens takes 200 s: worth it over 100 tokens, not over 20."""
    costs = FixedCosts(1.0, 10.0, catch_up_s=0.5)
    for budget, expected in ((100, "b"), (20, "a")):
        plan = trained(start, done).plan(start(budget, costs=costs, lags={"a": 0, "b": 400}))
        assert plan.draft == expected


def test_texts_do_not_run_into_one_another(start, done):
    policy = HedgeConfig(length="static").build()
    policy.plan(start(lags=DRAFTS))
    policy.observe(done(4, 4, draft="a"))
    assert len(policy.state.run_lengths["a"].products) == 4
    policy.plan(replace(start(lags=DRAFTS), index=0))
    assert policy.state.run_lengths["a"].products == []


def test_what_the_length_policy_asks_for_is_kept(start):
    class AskingConfig(HedgeConfig):
        def build(self, seed=0):
            policy = HedgeConfig(length="static").build()
            policy.plan = lambda start: Plan(2, "a", score=frozenset({"c"}))
            return policy

    plan = HedgeConfig(length=AskingConfig()).build().plan(start(lags=DRAFTS))
    assert plan.score == {"b", "c"}
