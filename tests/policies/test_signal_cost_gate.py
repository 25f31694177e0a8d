"""Rounds that look at a draft's probabilities."""

from dataclasses import replace

from paceline.core.records import Plan, TokenSignals
from paceline.core.testing.playing import settle
from paceline.policies.signal_cost_gate import FIRST_ROUNDS, TRIAL_EVERY, SignalCostGate
from paceline.testing import FixedCosts


def rounds(signal_cost_gate, start, costs, with_s, count=200):
    """Draft four tokens a round; one that is heard takes `with_s` times as long. Return when it was listened to."""
    heard = []
    for _ in range(count):
        here = start(costs=costs)
        look = signal_cost_gate.worth_it(here, "draft")
        heard.append(look)
        signals = tuple(TokenSignals(i, prob=0.5) for i in range(4)) if look else ()
        done = settle(here, Plan(4, "draft"), drafted=4, accepted=1, signals=signals)
        signal_cost_gate.observe(replace(done, draft_s=done.draft_s * with_s) if look else done)
    return heard


def test_a_dear_draft_is_listened_to_where_that_costs_little(start):
    heard = rounds(SignalCostGate(), start, FixedCosts(2.0, 10.0), 1.05)
    assert not any(heard[:FIRST_ROUNDS])
    assert sum(heard) > 0.95 * (len(heard) - FIRST_ROUNDS)
    assert not heard[TRIAL_EVERY], "now and then it goes unheard, to compare"


def test_it_is_not_listened_to_where_that_makes_it_slow_but_for_trials(start):
    heard = rounds(SignalCostGate(), start, FixedCosts(2.0, 10.0), 1.5)
    assert 0 < sum(heard) < 8


def test_a_cheap_draft_is_never_listened_to(start):
    assert not any(rounds(SignalCostGate(), start, FixedCosts(0.5, 10.0), 1.0))


def test_a_round_that_caught_up_says_nothing_about_the_time_of_a_token(start):
    signal_cost_gate = SignalCostGate()
    signal_cost_gate.observe(replace(settle(start(), Plan(4, "draft"), drafted=4, accepted=1), lag=7))
    assert signal_cost_gate.times == {}
