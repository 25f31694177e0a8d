"""`check_policy` and the laws of plans: each is broken by somebody, and found."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from datetime import UTC, datetime
from os import urandom
from time import perf_counter as innocent_name
from typing import ClassVar

import pytest

from paceline.core.records import Capabilities, DraftState, Plan, Requirements, StopRule
from paceline.core.testing.playing import ENGINE
from paceline.core.testing.policies import reads_no_clock, stays_lawful
from paceline.core.testing.policy_steps import Odd, Step, live, many_steps
from paceline.policies.composition import PerDraftPolicies
from paceline.policies.static import StaticConfig
from paceline.testing import BREACHES, ChaoticPolicy, LawlessPolicy, ScriptedPolicy, check_policy

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
        (EngineBlind, "this engine runs gamma 1, 3, 7, found"),
        (UnknownDraft, "there is no draft 'mine'"),
        (Unseeded, "planned differently on the same inputs"),
        (Shared, "planned differently on the same inputs"),
        (Amnesic, "restored"),
        (AnyVersion, "was accepted"),
        (HalfLoaded, "changed the policy"),
        (CutIsRefused, "a round that was ended"),
        (Hoarder, "the state grew"),
        (NotFinite, "finite"),
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


DRAFTS = ("small", "lookup")


class Timed(Counter):
    def plan(self, start):
        innocent_name()
        return super().plan(start)


class Slept(Counter):
    def observe(self, done):
        super().observe(done)
        time.sleep(0)


class Dated(Counter):
    def observe(self, done):
        super().observe(done)
        self.seen = datetime.now(UTC)


class Gambling(Counter):
    def observe(self, done):
        super().observe(done)
        self.luck = random.randint(1, 6)


class Chancy(Counter):
    def plan(self, start):
        urandom(1)
        return super().plan(start)


class OnlyEos(Counter):
    """Knows that a text may end, but only in one way."""

    def observe(self, done):
        super().observe(done if done.ended == "eos" else replace(done, ended=None))


class WantsMatchLengths(Counter):
    def plan(self, start):
        return Plan(
            min(
                super().plan(start).gamma,
                next(iter(start.drafts.values())).match_length if start.drafts else 0,
            )
        )


class WantsScores(Counter):
    def plan(self, start):
        return replace(super().plan(start), score=frozenset(list(start.drafts)[1:]))

    def observe(self, done):
        super().observe(done)
        for name in done.plan.score - {done.plan.draft}:
            assert done.scores[name]


class TrustsScores(Counter):
    """Plans whatever draft it has heard of."""

    def __init__(self):
        super().__init__()
        self.best = None

    def plan(self, start):
        return replace(super().plan(start), draft=self.best)

    def observe(self, done):
        super().observe(done)
        self.best = max(done.scores, default=self.best)


class Loyal(Counter):
    def plan(self, start):
        gamma = super().plan(start).gamma
        return Plan(gamma, "small")


class CountsOnAll(Counter):
    def observe(self, done):
        super().observe(done)
        if done.plan.gamma:
            assert done.drafted == done.plan.gamma, "fewer than planned"


class NeedsAllSignals(Counter):
    needs = frozenset({"top1"})

    def observe(self, done):
        super().observe(done)
        if done.drafted:
            assert len(done.signals) == done.drafted, "tokens without signals"


class Undisturbed(Counter):
    """Cannot bear a caller who leaves."""

    def __init__(self):
        super().__init__()
        self.open = False

    def plan(self, start):
        assert not self.open, "the round before was never finished"
        self.open = True
        return super().plan(start)

    def observe(self, done):
        super().observe(done)
        self.open = False


class Wavering(Counter):
    """Changes drafts between rounds and does not say so."""

    def plan(self, start):
        plan = super().plan(start)
        names = list(start.drafts)
        return replace(plan, draft=names[start.index % len(names)] if names and plan.gamma else None)


class Holding(Counter):
    """Holds a policy for each draft, one of which is broken."""

    part = StaticConfig

    def __init__(self):
        super().__init__()
        self.lengths = PerDraftPolicies(StaticConfig(gamma=3), 0)
        self.lengths.of("small").__class__ = type(
            "Broken", (type(self.lengths.of("small")),), {"plan": self.broken}
        )

    @staticmethod
    def broken(_self, start):
        return Plan(start.budget + 1)

    def plan(self, start):
        return self.lengths.plan(start, next(iter(start.drafts))) if start.drafts else Plan(0)


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        (Timed, r"a clock \(time.perf_counter\)"),
        (Slept, r"a clock \(time.sleep\)"),
        (Dated, r"a clock \(datetime.now\)"),
        (Gambling, "the shared generator of `random`"),
        (Chancy, "the system's chance"),
    ],
)
def test_time_and_chance_come_from_outside(policy, complaint):
    reads_no_clock(Counter, DRAFTS)
    with pytest.raises(AssertionError, match=complaint):
        reads_no_clock(policy, DRAFTS)
    with pytest.raises(AssertionError, match=complaint):
        check_policy(policy, drafts=DRAFTS, examples=2)


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        (OnlyEos, r"Round.ended, 'stop'"),
        (WantsMatchLengths, "NoneType"),
        (WantsScores, "small|lookup"),
        (TrustsScores, "there is no draft"),
        (Loyal, "there is no draft 'small'"),
        (CountsOnAll, "fewer than planned"),
        (NeedsAllSignals, "tokens without signals"),
        (Undisturbed, "never finished"),
        (Wavering, "this engine changes drafts never"),
        (Holding, "the budget"),
    ],
)
def test_unusual_rounds_find_who_cannot_bear_them(policy, complaint):
    with pytest.raises((AssertionError, KeyError, TypeError), match=complaint):
        check_policy(policy, drafts=DRAFTS, examples=30)


def test_a_policy_that_admits_to_changing_drafts_may():
    class Admitting(Wavering):
        requires = Requirements(draft_switch="round")

    check_policy(Admitting, drafts=DRAFTS, examples=20)


class PerRequest(Counter):
    """Takes the drafts in turn, a request each."""

    def __init__(self):
        super().__init__()
        self.requests = 0

    def plan(self, start):
        self.requests += start.index == 0
        names = list(start.drafts)
        return Plan(min(1, start.budget), names[self.requests % len(names)] if names else None)


def test_a_policy_that_chooses_between_requests_must_say_so_and_may_then():
    class Admitting(PerRequest):
        requires = Requirements(draft_switch="request")

    with pytest.raises(AssertionError, match="this engine changes drafts never"):
        stays_lawful(PerRequest, DRAFTS, Capabilities(draft_switch="none"), 20)
    stays_lawful(PerRequest, DRAFTS, Capabilities(draft_switch="request"), 20)
    with pytest.raises(AssertionError, match="between requests only"):
        stays_lawful(Wavering, DRAFTS, Capabilities(draft_switch="request"), 20)
    assert Admitting.requires.draft_switch == "request"


def test_a_draft_that_failed_stays_away_until_the_request_ends():
    class Noting(Counter):
        def __init__(self):
            super().__init__()
            self.seen = []

        def plan(self, start):
            self.seen.append((start.index, tuple(start.drafts), start.budget))
            return super().plan(start)

    normal = many_steps(1, seed=0)[0]
    gone, last = replace(normal, odd=Odd.WITHOUT_FIRST), replace(normal, ended="eos")
    policy = Noting()
    live(
        policy,
        [normal, gone, normal, last, normal, replace(normal, odd=Odd.WITHOUT_LAST | Odd.WITHOUT_FIRST)],
        DRAFTS,
    )
    assert policy.seen == [
        (0, DRAFTS, 59),
        (1, ("lookup",), 59),
        (2, ("lookup",), 59),
        (3, ("lookup",), 59),
        (0, DRAFTS, 59),
        (1, (), 0),
    ]


def test_what_is_odd_about_a_step_is_what_the_policy_sees():
    class Noting(Counter):
        def plan(self, start):
            self.start = start
            return Plan(2, score=frozenset({"lookup"}))

        def observe(self, done):
            self.done = done

    step = Step(budget=9, context=30, lag=4, offered=5, accepted=1, ended="eos")
    policy = Noting()
    live(policy, [step], DRAFTS)
    assert policy.start.drafts == {"small": DraftState(4, 5), "lookup": DraftState(4, 5)}
    assert (policy.start.batch, policy.start.perplexity) == (1, 20.0)
    assert (policy.done.scores.keys(), policy.done.emitted) == ({"lookup"}, 2)
    odd = Odd.NO_MATCH_LENGTHS | Odd.NO_SCORES | Odd.NO_PERPLEXITY | Odd.BATCH | Odd.SHORT | Odd.OTHER_LAGS
    live(policy, [replace(step, odd=odd)], DRAFTS)
    assert policy.start.drafts == {"small": DraftState(4), "lookup": DraftState(1)}
    assert (policy.start.batch, policy.start.perplexity) == (7, None)
    assert (policy.done.scores, policy.done.emitted) == ({}, 1)
    live(policy, [replace(step, odd=Odd.STRANGERS)], DRAFTS)
    assert "nobody's" in policy.done.scores
