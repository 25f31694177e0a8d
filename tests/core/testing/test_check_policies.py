"""check_policy finds each breach of the contract, and says which."""

import random
from dataclasses import replace
from typing import ClassVar

import pytest

from paceline.core.records import Plan, StopRule
from paceline.core.testing import BREACHES, ChaoticPolicy, LawlessPolicy, ScriptedPolicy, check_policy
from paceline.core.testing.playing import ENGINE
from paceline.core.testing.policies import stays_lawful
from paceline.core.testing.policy_steps import Step, live

from .counter import Counter


class OverBudget(Counter):
    def plan(self, start):
        return Plan(self.gamma)


class EngineBlind(Counter):
    def plan(self, start):
        return Plan(min(self.gamma, start.budget))


class UnknownDraft(Counter):
    def plan(self, start):
        return replace(super().plan(start), draft="mine")


class Unseeded(Counter):
    def __init__(self):
        self.gamma = random.SystemRandom().randint(1, 12)


class Shared(Counter):
    gammas: ClassVar = [4]

    def __init__(self):
        pass

    gamma = property(lambda self: self.gammas[0], lambda self, value: self.gammas.__setitem__(0, value))


class Amnesic(Counter):
    def load_state_dict(self, state):
        before, self.gamma = self.gamma, 0
        self.gamma = before
        super().load_state_dict(state)
        self.gamma = 4


class AnyVersion(Counter):
    def load_state_dict(self, state):
        super().load_state_dict(state | {"version": 1})


class HalfLoaded(Counter):
    def load_state_dict(self, state):
        self.gamma = 7
        super().load_state_dict(state)


class CutIsRefused(Counter):
    def observe(self, done):
        super().observe(replace(done, ended=None))


class Hoarder(Counter):
    def __init__(self):
        super().__init__()
        self.seen = []

    def observe(self, done):
        super().observe(done)
        self.seen.append(done.accepted)

    def state_dict(self):
        return super().state_dict() | {"seen": list(self.seen)}

    def load_state_dict(self, state):
        if not isinstance(state.get("seen"), list) or not all(isinstance(one, int) for one in state["seen"]):
            raise ValueError("the state is damaged: no list")
        super().load_state_dict(state)
        self.seen = list(state["seen"])


class NotFinite(Counter):
    def state_dict(self):
        return super().state_dict() | {"best": float("inf")}


class BadSum(Counter):
    def __init__(self):
        super().__init__()
        self.sum = 0.0

    def observe(self, done):
        super().observe(done)
        self.sum += done.accepted

    def export(self):
        return {"sum": self.sum}

    def absorb(self, statistics):
        self.sum = statistics["sum"]


class Unversioned(Counter):
    def state_dict(self):
        return {"gamma": self.gamma}

    def load_state_dict(self, state):
        super().load_state_dict({"version": 1} | state)


class Undeclared(Counter):
    needs = frozenset({"temperature"})


def test_an_honest_policy_passes():
    check_policy(Counter, examples=20)


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        (OverBudget, "the budget"),
        (EngineBlind, "not one of the engine's"),
        (UnknownDraft, "there is no draft 'mine'"),
        (Unseeded, "planned differently on the same inputs"),
        (Shared, "planned differently on the same inputs"),
        (Amnesic, "restored"),
        (AnyVersion, "was accepted"),
        (HalfLoaded, "changed the policy"),
        (CutIsRefused, "a round that was ended"),
        (Hoarder, "the state grew"),
        (NotFinite, "finite"),
        (BadSum, "do not add up"),
        (Unversioned, '"version"'),
        (Undeclared, "`needs`"),
    ],
)
def test_each_breach_is_found_and_named(policy, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_policy(policy, examples=30)


@pytest.mark.parametrize("breach", [b for b in BREACHES if b != "raise-in-keep-drafting"])
def test_every_lawless_policy_is_found(breach):
    with pytest.raises((AssertionError, RuntimeError)):
        check_policy(lambda: LawlessPolicy(breach, after=1), examples=30)


def test_a_policy_that_raises_in_keep_is_found_when_it_asks_for_signals():
    with pytest.raises(RuntimeError, match="lawless in keep_drafting"):
        check_policy(lambda: LawlessPolicy("raise-in-keep-drafting", needs=frozenset({"top1"})), examples=30)


def test_unknown_breaches_and_empty_scripts_are_refused():
    with pytest.raises(ValueError, match="they are: over-budget"):
        LawlessPolicy("rude")
    with pytest.raises(ValueError, match="at least one plan"):
        ScriptedPolicy([])


def test_rounds_show_the_signals_that_were_asked_for_and_no_others():
    policy = ScriptedPolicy([Plan(3, stop=StopRule("entropy", above=1.0)), Plan(2)])
    live(policy, [Step(budget=9, context=9, lag=0, offered=9, accepted=2, top1=0.9)] * 2, ("draft",))
    first, second = policy.rounds
    assert [one.entropy for one in first.signals] == pytest.approx([0.3] * 3)
    assert [one.prob for one in first.signals] == [None] * 3
    assert second.signals == ()


def test_chaos_is_lawful():
    policy = ChaoticPolicy(0, ("a", "b"), signals=frozenset({"top1", "margin"}))
    stays_lawful(lambda: policy, ("a", "b"), ENGINE, 50)
