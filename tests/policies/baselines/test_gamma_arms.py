import math

import pytest

from paceline.policies.baselines.gamma_arms import most_promising
from paceline.policies.throughput import ArmStatistics


def rates(*arms):
    """Make arms of so many rounds with so many tokens and one second each."""
    made = ArmStatistics([str(i) for i in range(len(arms))])
    for arm, (rounds, tokens) in enumerate(arms):
        for _ in range(rounds):
            made.count(arm, tokens / rounds, 1.0)
    return made


def test_a_step_of_ucb1_computed_by_hand():
    """ArmStatistics 3 and 2 of 9 and 3 rounds: 1 + c sqrt(ln 13 / 9) against 2/3 + c sqrt(ln 13 / 3)."""
    known = rates((9, 27), (3, 6))
    assert math.sqrt(math.log(13) / 9) == pytest.approx(0.5338, abs=1e-4)
    assert math.sqrt(math.log(13) / 3) == pytest.approx(0.9246, abs=1e-4)
    equal = (1 / 3) / (0.92465 - 0.53385)  # the c at which the two bounds meet: 0.853
    assert most_promising(known, [0, 1], equal - 0.01) == 0
    assert most_promising(known, [0, 1], equal + 0.01) == 1


def test_without_normalising_the_rates_stand_as_they_are():
    known = rates((9, 27), (3, 6))
    equal = (3 - 2) / (0.92465 - 0.53385)
    assert most_promising(known, [0, 1], equal - 0.01, normalise=False) == 0
    assert most_promising(known, [0, 1], equal + 0.01, normalise=False) == 1


def test_the_unit_of_time_does_not_matter():
    known, slow = rates((9, 27), (3, 6), (5, 14)), ArmStatistics(["0", "1", "2"])
    for arm, (rounds, tokens) in enumerate([(9, 27), (3, 6), (5, 14)]):
        for _ in range(rounds):
            slow.count(arm, tokens / rounds, 1e6)
    for c in (0.0, 0.2, 0.5, 0.9, 2.0):
        assert most_promising(known, [0, 1, 2], c) == most_promising(slow, [0, 1, 2], c)


def test_only_arms_on_offer_are_chosen_and_the_first_among_equals():
    known = rates((4, 8), (4, 8), (4, 40))
    assert most_promising(known, [0, 1], 0.3) == 0
    assert most_promising(known, [1], 0.3) == 1


def test_arms_that_gained_nothing_can_still_be_compared():
    assert most_promising(rates((4, 0), (2, 0)), [0, 1], 0.3) == 1
