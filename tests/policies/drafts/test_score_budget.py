"""Scoring takes its share of the time and no more."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.records import Plan, Round, RoundStart
from paceline.core.testing import FixedCosts
from paceline.policies.drafts.score_budget import ScoreBudget


def finished(total_s, scores=(), score_s=0.0):
    return Round(
        0, 0, 9, Plan(0), 0, 0, 0, 1, None, 0.0, total_s, total_s + score_s, (0,),
        scores=dict.fromkeys(scores, (1.0,)), score_s=score_s,
    )  # fmt: skip


def run(seconds, *, share=0.02, rounds=3000, round_s=10.0):
    """Ask drafts whose scoring takes `seconds`; return how often each was asked, and the seconds it took in all."""
    budget = ScoreBudget(share)
    asked = dict.fromkeys(seconds, 0)
    start = RoundStart(3, 10, 50, 100, dict.fromkeys(seconds, 0), FixedCosts(seconds, 10.0))
    scoring = 0.0
    for _ in range(rounds):
        names = budget.afford(start, seconds)
        score_s = sum(seconds[name] for name in names)
        scoring += score_s
        for name in names:
            asked[name] += 1
        budget.observe(finished(round_s, names, score_s))
    return asked, scoring


def test_what_costs_a_tenth_of_a_round_is_asked_every_fifth():
    asked, scoring = run({"small": 1.0})
    assert asked["small"] == pytest.approx(3000 / 5, rel=0.05)


def test_what_is_nearly_free_is_asked_every_round_beside_one_that_is_not():
    asked, scoring = run({"small": 1.0, "lookup": 0.001})
    assert asked["lookup"] == 3000
    assert asked["small"] == pytest.approx(3000 / 5, rel=0.05)


@settings(deadline=None, max_examples=25)
@given(
    seconds=st.dictionaries(st.sampled_from("abc"), st.floats(0.0, 20.0), min_size=1),
    share=st.sampled_from([0.01, 0.02, 0.1]),
)
def test_scoring_never_takes_more_than_its_share_and_what_was_asked_at_once(seconds, share):
    rounds = 1000
    _, scoring = run(seconds, share=share, rounds=rounds)
    # The past fades, so what came before the last thousand rounds may be spent anew: e - 1 times at most.
    assert scoring <= 1.72 * share * (10.0 * rounds + scoring) + sum(seconds.values()) + 1e-9


def test_the_seconds_of_several_are_divided_as_the_cost_model_prices_them():
    budget = ScoreBudget(1.0)
    start = RoundStart(3, 10, 50, 100, {"a": 0, "b": 10}, FixedCosts(1.0, 10.0, catch_up_s=0.2))
    assert budget.afford(start, ["a", "b"]) == {"a", "b"}
    budget.observe(finished(10.0, ["a", "b"], 8.0))
    assert budget.state_dict() == {"total_s": 18.0, "spent_s": {"a": 2.0, "b": 6.0}}


def test_nobody_is_charged_for_rounds_without_scores():
    budget = ScoreBudget(0.5)
    budget.observe(finished(10.0))
    assert budget.state_dict() == {"total_s": 10.0, "spent_s": {}}


def test_the_accounts_survive_a_restart():
    budget, other = ScoreBudget(0.5), ScoreBudget(0.5)
    budget.observe(finished(10.0, ["a"], 2.0))
    other.load_state_dict(json.loads(json.dumps(budget.state_dict())))
    assert other.state_dict() == budget.state_dict()


@pytest.mark.parametrize(
    "state", [None, {}, {"total_s": 1.0, "spent_s": {"a": -1.0}}, {"total_s": "x", "spent_s": {}}]
)
def test_damaged_accounts_are_refused(state):
    with pytest.raises(ValueError, match="damaged"):
        ScoreBudget(0.5).load_state_dict(state)
