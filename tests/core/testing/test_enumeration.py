"""Counting out every way the dice can fall."""

import pytest

from paceline.testing import outcomes


def test_every_outcome_is_found_with_its_probability():
    found = outcomes(lambda rng: rng.draw([1, 2, 1]) + rng.draw([0, 1, 1]))
    assert found == pytest.approx({1: 0.125, 2: 0.375, 3: 0.375, 4: 0.125})


def test_what_cannot_happen_is_not_tried():
    tried = []
    outcomes(lambda rng: tried.append((rng.accept(1.0), rng.accept(0.0), rng.draw([0, 1]))))
    assert tried == [(True, False, 1)]


def test_later_throws_may_depend_on_earlier_ones():
    def until_heads(rng):
        count = 0
        while count < 3 and not rng.accept(0.5):
            count += 1
        return count

    assert outcomes(until_heads) == {0: 0.5, 1: 0.25, 2: 0.125, 3: 0.125}


def test_without_a_throw_there_is_one_outcome():
    assert outcomes(lambda rng: "always") == {"always": 1.0}
