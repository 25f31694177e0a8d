"""Drafts that are asked for scores, and how often."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.base_policy import BasePolicy
from paceline.core.records import DraftState, Plan, Round, RoundStart
from paceline.core.state.declared import PolicyState
from paceline.core.testing.doubles import FixedCosts
from paceline.core.testing.playing import play
from paceline.policies.scoring_budget import ScoringBudget

COSTS = FixedCosts({"free": 0.0, "small": 0.5, "large": 4.0}, 10.0, catch_up_s=0.01)


class Curious(BasePolicy[PolicyState]):
    """Drafts with one draft and asks the others."""

    def __init__(self, gamma, draft, share):
        super().__init__("curious", PolicyState())
        self.scoring_budget = ScoringBudget(share)
        self._plan = (gamma, draft)

    def plan(self, start):
        gamma, draft = self._plan
        plan = Plan(min(gamma, start.budget), draft)
        return Plan(plan.gamma, plan.draft, score=self.scoring_budget.select(start, plan.draft))

    def observe(self, done):
        self.scoring_budget.observe(done)


def asked(draft, share=0.01, drafts=("free", "small", "large"), **options):
    bits = {name: [True] * 4000 for name in drafts}
    rounds = play(Curious(0 if draft is None else 1, draft, share), bits, costs=COSTS, **options)
    return {name: sum(name in done.plan.score for done in rounds) / len(rounds) for name in drafts}, rounds


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_asking_takes_no_more_than_its_share_of_the_time_for_each_draft(share):
    often, rounds = asked("free", share)
    spent, whole = sum(done.score_s for done in rounds), sum(done.total_s for done in rounds)
    assert 0 < often["large"] < often["small"]
    assert share / 2 < spent / whole < 2 * share * 1.5


def test_a_draft_that_costs_nothing_is_asked_whenever_it_does_not_draft():
    assert asked("small")[0]["free"] > 0.999  # at first it has to read the prompt
    assert asked("free")[0]["free"] == 0.0
    assert asked(None)[0]["free"] > 0.999


def test_a_draft_with_nothing_to_propose_is_not_asked():
    match_lengths = {"free": [0, 5] * 3000}
    _, rounds = asked("small", match_lengths=match_lengths)
    assert all(("free" in done.plan.score) == (match_lengths["free"][done.position] > 0) for done in rounds)


def test_the_only_draft_is_asked_only_while_it_rests():
    assert asked("small", drafts=("small",))[0] == {"small": 0.0}
    assert asked(None, share=1.0, drafts=("small",))[0]["small"] > 0.999


def finished(total_s, scores=(), score_s=0.0, draft=None, asked=()):
    plan = Plan(1 if draft else 0, draft, score=frozenset(asked or scores))
    return Round(
        0, 0, 9, plan, 0, plan.gamma, 0, 1, None, 0.0, total_s, total_s + score_s, (0,),
        scores=dict.fromkeys(scores, (1.0,)), score_s=score_s,
    )  # fmt: skip


def run(prices, *, share=0.02, rounds=3000, takes=None):
    """Ask drafts of these prices, whose answers take `takes`; return how often each was asked, and the seconds."""
    scoring_budget, took = ScoringBudget(share), takes or prices
    often, scoring = dict.fromkeys(prices, 0), 0.0
    start = RoundStart(3, 10, 50, 100, dict.fromkeys(prices, DraftState(0)), FixedCosts(prices, 10.0))
    for _ in range(rounds):
        names = scoring_budget.select(start, None)
        score_s = sum(took[name] for name in names)
        scoring += score_s
        for name in names:
            often[name] += 1
        scoring_budget.observe(finished(10.0, names, score_s))
    return often, scoring


def test_what_costs_a_tenth_of_a_round_is_asked_every_fifth_and_what_is_free_every_round():
    often, _ = run({"small": 1.0, "lookup": 0.001})
    assert often["small"] == pytest.approx(3000 / 5, rel=0.05)
    assert often["lookup"] == 2999  # all but the first


@pytest.mark.parametrize("takes", [0.5, 3.0])
def test_answers_are_paid_by_what_they_took_where_the_cost_model_is_wrong(takes):
    _, scoring = run({"small": 1.0}, takes={"small": takes})
    assert scoring / (30000.0 + scoring) == pytest.approx(0.02, rel=0.1)


@settings(deadline=None, max_examples=25)
@given(
    prices=st.dictionaries(st.sampled_from("abc"), st.floats(0.0, 20.0), min_size=1),
    share=st.sampled_from([0.01, 0.02, 0.1]),
)
def test_answering_never_takes_more_than_the_share_of_each(prices, share):
    _, scoring = run(prices, share=share, rounds=500)
    assert scoring <= len(prices) * share * (5000.0 + scoring) + 1e-9


def test_a_new_draft_may_be_asked_at_once_unless_that_takes_longer_than_a_plain_step():
    costs = FixedCosts(1.0, 10.0, catch_up_s=0.1)
    start = RoundStart(
        0, 0, 50, 100, {"read": DraftState(0), "near": DraftState(90), "far": DraftState(91)}, costs
    )
    assert ScoringBudget(0.01, at_once=True).select(start, None) == {"read", "near"}
    assert ScoringBudget(0.01).select(start, None) == frozenset()


def test_the_seconds_of_several_are_divided_as_the_cost_model_prices_them():
    scoring_budget = ScoringBudget(0.5)
    start = RoundStart(
        3, 10, 50, 100, {"a": DraftState(0), "b": DraftState(10)}, FixedCosts(1.0, 10.0, catch_up_s=0.2)
    )
    scoring_budget.saved_s |= {"a": 1.0, "b": 3.0}
    assert scoring_budget.select(start, None) == {"a", "b"}  # at the prices 1 and 3
    scoring_budget.observe(finished(10.0, ["a", "b"], 8.0))
    assert scoring_budget.saved_s == {"a": 9.0, "b": 9.0}


def test_who_drafts_or_cannot_answer_starts_to_save_anew():
    scoring_budget = ScoringBudget(0.5)
    scoring_budget.saved_s |= {"a": 70.0, "b": 70.0, "c": 70.0}
    scoring_budget.observe(finished(10.0, draft="a", asked=["b"]))
    assert scoring_budget.saved_s == {"a": 5.0, "b": 5.0, "c": 75.0}
