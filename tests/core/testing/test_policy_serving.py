"""Laws for engines that decode batches or act late: each is broken by one policy here, and says so."""

from collections import deque

import pytest

from paceline.core.records import Requirements
from paceline.core.testing.policies import lawful
from paceline.core.testing.policy_serving import (
    ENGINES,
    Turn,
    bears_batches_and_delay,
    keeps_no_plans,
    learns_from_every_round,
    learns_from_the_rounds_own_plan,
    serve,
)
from paceline.core.testing.policy_steps import Step
from paceline.testing import check_policy

from .counter import Counter

DRAFTS = ("small", "lookup")
LATE = ENGINES[0]


class Expecting(Counter):
    """Thinks that a plan has one round."""

    def __init__(self):
        super().__init__()
        self.waiting = None

    def plan(self, start):
        self.waiting = super().plan(start)
        return self.waiting

    def observe(self, done):
        assert self.waiting is not None, "a round that nobody planned"
        self.waiting = None
        super().observe(done)


class FirstOnly(Expecting):
    """Learns from the first round of a plan."""

    def observe(self, done):
        if self.waiting is not None:
            super().observe(done)


class LatestPlan(Counter):
    """Learns about the gamma that it planned last."""

    def __init__(self):
        super().__init__()
        self.planned = 0

    def plan(self, start):
        plan = super().plan(start)
        self.planned = plan.gamma
        return plan

    def observe(self, done):
        if done.rejected:
            self.gamma = max(1, self.planned // 2)
        elif done.ended is None and done.drafted:
            self.gamma = min(12, self.planned + 1)


class Queueing(Counter):
    """Lets every plan wait for its round."""

    def __init__(self):
        super().__init__()
        self.waiting = deque()

    def plan(self, start):
        plan = super().plan(start)
        self.waiting.append((start.index, plan))
        return plan

    def observe(self, done):
        if self.waiting:
            self.waiting.popleft()
        super().observe(done)


def bears(policy, drafts, engine):
    bears_batches_and_delay(policy, drafts, engine, lawful(policy, drafts, engine), 30)


@pytest.mark.parametrize(
    ("law", "policy", "complaint"),
    [
        (bears, Expecting, "a round that nobody planned"),
        (learns_from_every_round, FirstOnly, "the second round under one plan taught nothing"),
        (learns_from_the_rounds_own_plan, LatestPlan, r"learn from `Round.plan`"),
        (keeps_no_plans, Queueing, "whose rounds were never shown"),
    ],
)
def test_each_law_finds_who_breaks_it(law, policy, complaint):
    for engine in ENGINES:
        law(Counter, DRAFTS, engine)
    with pytest.raises(AssertionError, match=complaint):
        law(policy, DRAFTS, LATE)
    with pytest.raises(AssertionError, match=complaint):
        check_policy(policy, drafts=DRAFTS, examples=15)


def test_a_policy_that_must_be_shown_its_rounds_at_once_is_not_tried_late():
    class Prompt(LatestPlan):
        requires = Requirements(immediate=True, latency="split")

    check_policy(Prompt, drafts=DRAFTS, examples=5)


def test_rounds_come_under_the_plan_in_force_as_many_as_are_shown():
    seen = []

    class Noting(Counter):
        def plan(self, start):
            seen.append(("plan", start.batch))
            return super().plan(start)

        def observe(self, done):
            super().observe(done)
            seen.append((done.plan.gamma, done.index))

    step = Step(budget=9, context=30, lag=0, offered=9, accepted=0)
    serve(Noting(), [Turn(step, batch=3, shown=2)] * 3, DRAFTS, LATE, deque())
    assert seen == [("plan", 3), ("plan", 3), (4, 1), (4, 8), ("plan", 3), (4, 2), (4, 9)]
