"""Sums of several processes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.state.checkpoint import pool_statistics

counts = st.dictionaries(st.sampled_from("abc"), st.integers(0, 100).map(float))


@pytest.mark.parametrize(
    ("now", "own", "before", "expected"),
    [
        ({}, {"a": 3.0}, {}, {"a": 3.0}),
        ({"a": 5.0}, {"a": 7.0}, {"a": 5.0}, {"a": 7.0}),
        ({"a": 9.0}, {"a": 7.0}, {"a": 5.0}, {"a": 11.0}),
        ({"a": 1.0, "b": 2.0}, {"a": 1.0}, {"a": 5.0}, {"b": 2.0}),  # faded by more than is left: 0, not -3
        ({"a": -4.0}, {"a": -6.0}, {"a": -4.0}, {"a": -6.0}),  # a sum that may be negative
    ],
)
def test_what_others_added_and_what_was_gathered_here(now, own, before, expected):
    assert pool_statistics(now, own, before) == expected


@settings(deadline=None)
@given(start=counts, gains=st.lists(counts, max_size=4), order=st.randoms())
def test_processes_that_started_from_the_same_may_finish_in_any_order(start, gains, order):
    total = {name: value for name, value in start.items() if value}
    for gain in gains:
        total = {name: total.get(name, 0.0) + gain.get(name, 0.0) for name in total.keys() | gain.keys()}
    order.shuffle(gains)
    there = {name: value for name, value in start.items() if value}
    for gain in gains:
        own = {name: start.get(name, 0.0) + gain.get(name, 0.0) for name in start.keys() | gain.keys()}
        there = pool_statistics(there, own, start)
    assert there == {name: value for name, value in total.items() if value}
