"""Clocks: the source of seconds."""

import pytest

from paceline.core.clock import CostTableClock, DraftWork, RecordedClock, VerifyWork, WallClock
from paceline.core.costs import CostTable
from paceline.core.errors import TraceError
from paceline.core.records import Plan, Round

COSTS = CostTable({1: 1.0, 5: 1.4}, {"d": 0.1}, {"d": 0.01})


def recorded(drafted, draft_s, verify_s, gamma=4, lag=0):
    plan = Plan(gamma, "d" if gamma else None)
    return Round(0, 0, 10, plan, lag, drafted, 0, 1, None, draft_s, verify_s, draft_s + verify_s, (1,))


def test_the_wall_clock_never_goes_back():
    clock = WallClock()
    before = clock.now()
    clock.spend(VerifyWork(1, 1))

    assert clock.now() >= before


def test_the_cost_table_clock_moves_by_the_price_of_the_work():
    clock = CostTableClock(COSTS)
    clock.spend(DraftWork("d", 4, 10))
    clock.spend(VerifyWork(5, 100))

    assert clock.now() == pytest.approx(4 * 0.1 + 10 * 0.01 + 1.4)


def test_the_recorded_clock_repeats_recorded_times():
    clock = RecordedClock([recorded(3, 0.5, 1.5), recorded(0, 0.0, 1.0, gamma=0)])
    clock.spend(DraftWork("d", 3, 0))
    assert clock.now() == 0.5
    clock.spend(VerifyWork(4, 10))
    clock.spend(VerifyWork(1, 10))

    assert clock.now() == 3.0


def test_the_recorded_clock_refuses_other_work():
    clock = RecordedClock([recorded(3, 0.5, 1.5)])

    with pytest.raises(TraceError, match="left its recording"):
        clock.spend(DraftWork("d", 2, 0))


def test_the_recorded_clock_refuses_to_go_on_past_its_end():
    with pytest.raises(TraceError, match="recorded None"):
        RecordedClock([]).spend(VerifyWork(1, 1))
