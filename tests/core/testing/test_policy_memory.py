"""What a policy may keep: hoarders are found wherever they hide it."""

from collections import deque

import pytest

from paceline.core.testing import check_policy
from paceline.core.testing.policy_states import keeps_no_text, parts, stays_small
from paceline.policies.baselines.tapout import TapOutConfig

from .counter import Counter

DRAFTS = ("small", "lookup")


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
def test_each_law_finds_who_breaks_it(law, policy, complaint):
    law(Counter, DRAFTS)
    with pytest.raises(AssertionError, match=complaint):
        law(policy, DRAFTS)


@pytest.mark.parametrize(("policy", "complaint"), [(SecretHoarder, "holds grew"), (Bookish, "RoundStart")])
def test_the_whole_check_holds_these_laws(policy, complaint):
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
