"""Whom to ask, and how often."""

import pytest

from paceline.core.records import Plan
from paceline.core.testing.costs import FixedCosts
from paceline.core.testing.playing import play
from paceline.policies.asking import Asking
from paceline.policies.blind import Blind

COSTS = FixedCosts({"free": 0.0, "small": 0.5, "large": 4.0}, 10.0, catch_up_s=0.01)


class Curious(Blind):
    """Drafts with one draft and asks the others."""

    def __init__(self, gamma, draft, share):
        self.asking = Asking(share)
        self._plan = (gamma, draft)

    def plan(self, start):
        gamma, draft = self._plan
        plan = Plan(min(gamma, start.budget), draft)
        return Plan(plan.gamma, plan.draft, score=self.asking.whom(start, plan))

    def observe(self, done):
        self.asking.observe(done)


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
    assert asked("small")[0]["free"] == 1.0
    assert asked("free")[0]["free"] == 0.0
    assert asked(None)[0]["free"] == 1.0


def test_a_draft_with_nothing_to_propose_is_not_asked():
    hints = {"free": [0, 5] * 3000}
    _, rounds = asked("small", hints=hints)
    assert all(("free" in done.plan.score) == (hints["free"][done.position] > 0) for done in rounds)


def test_the_only_draft_is_asked_only_while_it_rests():
    assert asked("small", drafts=("small",))[0] == {"small": 0.0}
    assert asked(None, share=1.0, drafts=("small",))[0] == {"small": 1.0}


def test_its_state_survives_and_a_damaged_one_is_refused():
    policy = Curious(1, "free", 0.01)
    play(policy, {"free": [True] * 99, "small": [True] * 99}, costs=COSTS)
    saved, other = policy.asking.save(), Asking(0.01)
    other.load(saved)
    assert other.save() == saved != {}
    for damage in ([], {"small": -1}, {"small": "often"}, {"small": 0.5}):
        with pytest.raises(ValueError, match="damaged"):
            other.load(damage)
    assert other.save() == saved
