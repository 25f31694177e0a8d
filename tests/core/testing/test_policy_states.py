"""The laws on what a policy keeps: each is broken by somebody, and found."""

from __future__ import annotations

import math
from collections import deque

import pytest

from paceline.core.testing.policy_states import (
    can_be_saved_within_a_round,
    keeps_no_text,
    parts,
    pools,
    refuses_damaged_state,
    stays_small,
)
from paceline.policies.baselines.tapout import TapOutConfig
from paceline.testing import check_policy

from .counter import Counter

DRAFTS = ("small", "lookup")


class Settled(Counter):
    """Takes being saved for the end of a round."""

    def __init__(self):
        super().__init__()
        self.pending = None

    def plan(self, start):
        self.pending = plan = super().plan(start)
        return plan

    def observe(self, done):
        if self.pending is not None:
            super().observe(done)

    def state_dict(self):
        self.pending = None
        return super().state_dict()


class Loose(Counter):
    """Keeps a table and does not look at what it loads into it."""

    name = None

    def __init__(self):
        super().__init__()
        self.table = {"a": [1.0, 2.0], "b": [3.0, 4.0]}

    def state_dict(self):
        named = {"policy": self.name} if self.name else {}
        return super().state_dict() | {"table": self.table} | named

    def load_state_dict(self, state):
        if not isinstance(state.get("table"), dict) or (
            self.name and not isinstance(state.get("policy"), str)
        ):
            raise ValueError("the state is damaged: no table")
        super().load_state_dict(state)
        self.table = state["table"]


class NumbersOnly(Loose):
    """Checks kinds, and forgets that nan is a number."""

    def load_state_dict(self, state):
        table = state.get("table")
        if not isinstance(table, dict) or not all(
            isinstance(row, list) and all(isinstance(number, float) for number in row)
            for row in table.values()
        ):
            raise ValueError("the state is damaged: no table of numbers")
        super().load_state_dict(state)


class Anybodys(NumbersOnly):
    name = "anybody's"

    def load_state_dict(self, state):
        rows = state["table"].values() if isinstance(state.get("table"), dict) else [[math.nan]]
        if not all(
            isinstance(row, list) and all(math.isfinite(n) for n in row if isinstance(n, float))
            for row in rows
        ):
            raise ValueError("the state is damaged: no finite numbers")
        super().load_state_dict(state)


class Summing(Counter):
    """An honest Mergeable."""

    def __init__(self):
        super().__init__()
        self.sum = 0.0

    def observe(self, done):
        super().observe(done)
        self.sum += done.accepted

    def export(self):
        return {"sum": self.sum}

    def absorb(self, statistics):
        if statistics.keys() != {"sum"} or not math.isfinite(statistics["sum"]):
            raise ValueError("these are no statistics of this policy")
        self.sum += statistics["sum"]

    def state_dict(self):
        return super().state_dict() | {"sum": self.sum}

    def load_state_dict(self, state):
        if type(state.get("sum")) is not float or not math.isfinite(state["sum"]):
            raise ValueError("the state is damaged: no sum")
        super().load_state_dict(state)
        self.sum = state["sum"]


class ExportsItsPrior(Summing):
    def export(self):
        return {"sum": self.sum + 1.0}


class Replacing(Summing):
    """Absorbs, and forgets what it learnt itself."""

    def __init__(self):
        super().__init__()
        self.absorbed = 0.0

    def absorb(self, statistics):
        super().absorb(statistics)
        self.absorbed += statistics["sum"]
        self.sum = self.absorbed


class Swallowing(Summing):
    def absorb(self, statistics):
        self.sum += sum(value for value in statistics.values() if math.isfinite(value))


def test_an_honest_policy_that_can_be_merged_passes():
    check_policy(Summing, drafts=DRAFTS, examples=20)


@pytest.mark.parametrize(
    ("law", "policy", "complaint"),
    [
        (can_be_saved_within_a_round, Settled, r"between plan\(\) and observe\(\)"),
        (refuses_damaged_state, Loose, "'damage' at table.a"),
        (refuses_damaged_state, NumbersOnly, r"nan at table.a.0"),
        (refuses_damaged_state, Anybodys, "somebody else's"),
        (pools, ExportsItsPrior, "do not add up"),
        (pools, Replacing, "one part was learnt and the other absorbed"),
        (pools, Swallowing, r"absorb\(\) accepted"),
    ],
)
def test_each_law_finds_who_breaks_it(law, policy, complaint):
    law(Counter, DRAFTS)
    with pytest.raises(AssertionError, match=complaint):
        law(policy, DRAFTS)


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [(Settled, "between plan"), (Loose, "a damaged state"), (Swallowing, "absorb")],
)
def test_the_whole_check_holds_these_laws(policy, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_policy(policy, drafts=DRAFTS, examples=2)


class SecretHoarder(Counter):
    def __init__(self):
        super().__init__()
        self.seen = []

    def observe(self, done):
        super().observe(done)
        self.seen.append((done.accepted, done.total_s))


class ClosureHoarder(Counter):
    def __init__(self):
        super().__init__()
        seen = []
        self.note = lambda done: seen.append(done.total_s)

    def observe(self, done):
        super().observe(done)
        self.note(done)


class RequestHoarder(Counter):
    def __init__(self):
        super().__init__()
        self.requests = {}

    def plan(self, start):
        self.requests[start.perplexity] = {"gamma": self.gamma, "context": start.context}
        return super().plan(start)


class Bounded(Counter):
    """Keeps much, but no more than that."""

    def __init__(self):
        super().__init__()
        self.seen = deque(maxlen=2000)

    def observe(self, done):
        super().observe(done)
        self.seen.append(done.total_s)


class Bookish(Counter):
    def plan(self, start):
        self.start = start
        return super().plan(start)


class Copyist(Counter):
    def plan(self, start):
        self.text = list(start.tokens)
        return super().plan(start)


class SlowlyFilled(Counter):
    """Keeps as much, but gets there late, as a part that is seldom used does."""

    def __init__(self):
        super().__init__()
        self.seen = deque(maxlen=2000)
        self.rounds = 0

    def observe(self, done):
        super().observe(done)
        self.rounds += 1
        if self.rounds % 3 == 0:
            self.seen.append(done.total_s)


def test_much_may_be_kept_where_it_is_bounded():
    check_policy(Bounded, drafts=DRAFTS, examples=5)


def test_what_is_bounded_may_fill_slowly():
    stays_small(SlowlyFilled, DRAFTS)


@pytest.mark.parametrize("share", [True, False])
def test_a_wrapper_of_policies_that_keep_windows_stays_small(share):
    config = TapOutConfig(arms=("ev-stop", "survival", "confidence"), share=share)
    stays_small(lambda: config.build(0), DRAFTS)


@pytest.mark.parametrize(
    ("law", "policy", "complaint"),
    [
        (stays_small, SecretHoarder, "what the policy holds grew"),
        (stays_small, ClosureHoarder, "what the policy holds grew"),
        (stays_small, RequestHoarder, "what the policy holds grew"),
        (keeps_no_text, Bookish, "RoundStart that holds it"),
        (keeps_no_text, Copyist, "grows with the text"),
    ],
)
def test_each_law_of_memory_finds_who_breaks_it(law, policy, complaint):
    law(Counter, DRAFTS)
    with pytest.raises(AssertionError, match=complaint):
        law(policy, DRAFTS)


@pytest.mark.parametrize(("policy", "complaint"), [(SecretHoarder, "holds grew"), (Bookish, "RoundStart")])
def test_the_whole_check_holds_the_laws_of_memory(policy, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_policy(policy, drafts=DRAFTS, examples=2)


def test_what_belongs_to_the_program_is_not_counted():
    marker = object()

    class Lists(Counter):
        shared = [marker]

    policy = Lists()
    assert not any(part is marker for part in parts(policy))
    policy.own = [marker]
    assert any(part is marker for part in parts(policy))
