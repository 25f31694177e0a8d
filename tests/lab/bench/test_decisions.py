"""Decisions are timed under the load of a run."""

import time

import pytest

from paceline.core.records import Plan, StopRule
from paceline.lab.bench.decisions import at_full_length, decide
from paceline.policies.online import OnlineConfig
from paceline.policies.static import StaticConfig
from paceline.testing import ScriptedPolicy


class Slow(ScriptedPolicy):
    """Takes a known time for each call, and writes down what it was shown."""

    needs = frozenset({"top1"})

    def plan(self, start):
        time.sleep(0.003)
        return super().plan(start)

    def keep_drafting(self, signals):
        time.sleep(0.001)
        assert signals.top1 is not None
        return True

    def observe(self, done):
        time.sleep(0.002)
        super().observe(done)


class Built(StaticConfig):
    """Builds what it is told to."""

    def build(self, seed=0):
        return self._policy

    def __init__(self, policy):
        super().__init__()
        object.__setattr__(self, "_policy", policy)


def test_each_call_is_timed_apart():
    found = decide("slow", Built(Slow([2])), 1, rounds=12, warm_up=3)

    assert found.plan.median >= 3000
    assert found.keep_drafting.median >= 1000
    assert found.observe.median >= 2000
    assert found.keep_drafting.median < found.observe.median < found.plan.median <= found.plan.p90


def test_the_policy_sees_costs_that_were_learnt_from_noisy_rounds():
    policy = ScriptedPolicy([4])
    decide("scripted", Built(policy), 2, rounds=100, warm_up=20)

    start = policy.starts[-1]
    assert list(start.drafts) == ["first", "second"]
    assert [draft.match_length is None for draft in start.drafts.values()] == [True, False]
    assert start.costs.draft_s("first", 1) == pytest.approx(1e-3, rel=0.2)
    assert len({done.verify_s for done in policy.rounds}) == len(policy.rounds)
    assert 0.5 < sum(r.accepted for r in policy.rounds) / sum(r.drafted for r in policy.rounds) < 0.75


def test_a_policy_that_asks_for_no_signals_is_not_asked_to_keep():
    found = decide(
        "scripted", Built(ScriptedPolicy([Plan(2, stop=StopRule("top1", below=0.1))])), 1, rounds=20
    )

    assert found.keep_drafting.median is None


def test_the_largest_gamma_is_16_unless_the_user_says_otherwise():
    assert at_full_length(StaticConfig()).gamma == 16
    assert at_full_length(OnlineConfig()).max_gamma == 16
    assert at_full_length(OnlineConfig(max_gamma=4)).max_gamma == 4
