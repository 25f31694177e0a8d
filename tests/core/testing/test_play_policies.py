from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.errors import ContractError
from paceline.core.records import Plan, StopRule, TokenSignals
from paceline.core.testing.texts import calibrated
from paceline.testing import ChaoticPolicy, FixedCosts, ScriptedPolicy, play


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), length=st.integers(1, 60), signals=st.booleans())
def test_whatever_is_planned_the_text_is_delivered_once_and_ends_by_length(seed, length, signals):
    random = Random(seed)
    bits = {name: [random.random() < 0.7 for _ in range(length)] for name in ("a", "b")}
    needs = frozenset({"top1", "entropy"}) if signals else frozenset()
    rounds = play(ChaoticPolicy(seed, ("a", "b"), signals=needs), bits)
    assert sum(r.emitted for r in rounds) == length
    assert [r.ended for r in rounds] == [None] * (len(rounds) - 1) + ["length"]
    for r in rounds:
        assert r.drafted <= r.plan.gamma
        assert r.emitted == len(r.tokens) == r.accepted + 1
        if r.plan.draft:
            agreed = bits[r.plan.draft][r.position : r.position + r.drafted]
            assert agreed[: r.accepted] == [True] * r.accepted
            assert r.accepted == r.drafted or not agreed[r.accepted]


def test_lags_follow_the_caches():
    policy = ScriptedPolicy([2, 2, 0, Plan(1, "other"), 2])
    play(policy, {"draft": [True] * 12, "other": [True] * 12}, prompt=5)
    seen = [tuple(draft.lag for draft in start.drafts.values()) for start in policy.starts]
    assert seen == [(4, 4), (1, 7), (1, 10), (2, 11), (4, 1)]


def test_a_declared_stop_ends_drafting_after_the_token_that_triggers_it():
    bits = [True, False, True, True, True]
    rounds = play(ScriptedPolicy([Plan(4, stop=StopRule("top1", below=0.5))]), bits)
    assert (rounds[0].drafted, rounds[0].accepted) == (2, 1)


def test_times_are_those_of_the_cost_model():
    costs = FixedCosts({"draft": 2.0}, lambda length, context: 10.0 * length + context, catch_up_s=0.5)
    first = play(ScriptedPolicy([3]), [True] * 8, costs=costs, prompt=5)[0]
    assert (first.draft_s, first.verify_s, first.total_s) == pytest.approx((8.0, 45.0, 53.0))


class StopsBelow(ScriptedPolicy):
    """Drafts on while the token before was likely enough."""

    needs = frozenset({"top1"})

    def __init__(self, threshold):
        super().__init__([8])
        self.threshold = threshold
        self.asked = []

    def keep_drafting(self, signals):
        self.asked.append((signals.position, signals.top1))
        return signals.top1 >= self.threshold


def test_signals_that_are_given_are_shown_from_the_start_of_each_round():
    told = [TokenSignals(99, top1=i / 10) for i in range(10)]
    policy = StopsBelow(0.0)
    rounds = play(policy, [True, True, False, *[True] * 7], signals=told)
    assert policy.asked == [(i, i / 10) for i in range(8)] + [(i, (i + 3) / 10) for i in range(6)]
    assert [(s.position, s.top1) for s in rounds[1].signals] == policy.asked[8:]


def test_a_policy_that_asks_for_no_signals_finds_none_in_its_rounds():
    assert [r.signals for r in play(ScriptedPolicy([3]), [True] * 9)] == [(), (), ()]


@pytest.mark.parametrize("signals", [[TokenSignals(0)] * 3, {"other": [TokenSignals(0)] * 9}])
def test_signals_that_do_not_fit_the_text_are_refused(signals):
    with pytest.raises(ValueError, match="one record a token"):
        play(ScriptedPolicy([3]), [True] * 9, signals=signals)


def test_calibrated_signals_are_as_often_right_as_they_say():
    bits, signals = calibrated(20_000, accuracy=0.6, seed=1)
    assert sum(bits) / len(bits) == pytest.approx(0.6, abs=0.02)
    for low in (0.0, 0.25, 0.5, 0.75):
        bin_ = [(s.top1, bit) for s, bit in zip(signals, bits, strict=True) if low <= s.top1 < low + 0.25]
        said, was = (sum(column) / len(bin_) for column in zip(*bin_, strict=True))
        assert was == pytest.approx(said, abs=0.03)


def test_a_stop_rule_wastes_fewer_tokens_on_calibrated_signals_and_still_some():
    bits, signals = calibrated(4000, accuracy=0.7, seed=2)
    wasted = {}
    for threshold in (0.0, 0.5):
        rounds = play(StopsBelow(threshold), bits, signals=signals)
        wasted[threshold] = sum(r.drafted - r.accepted for r in rounds) / sum(r.drafted for r in rounds)
    assert 0.1 < wasted[0.5] < 0.8 * wasted[0.0]


class Excessive(ScriptedPolicy):
    def plan(self, start):
        return Plan(start.budget + 1)


class Raising(ScriptedPolicy):
    def observe(self, done):
        raise ZeroDivisionError


def test_what_a_policy_raises_comes_out_as_it_is_and_a_breach_is_refused_as_in_a_run():
    with pytest.raises(ZeroDivisionError):
        play(Raising([1]), [True] * 4)
    with pytest.raises(ContractError, match="between 0 and the budget of 3, found 4"):
        play(Excessive([1]), [True] * 4)
