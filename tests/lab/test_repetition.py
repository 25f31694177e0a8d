"""Texts that go round in circles are told from those that vary."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.lab.repetition import Repetition, repetition

VARIED = tuple(i * i % 10_007 for i in range(96))
LOOPED = (*range(1000, 1032), *tuple(range(32)) * 2)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (VARIED, Repetition(loops=False, repeats=False)),
        (LOOPED, Repetition(loops=True, repeats=True)),
        (LOOPED[:-1], Repetition(loops=False, repeats=True)),  # the last 64 tokens no longer repeat
        (tuple(range(33)) * 2, Repetition(loops=False, repeats=True)),  # a period of 33 is no loop
        ((7,) * 63, Repetition(loops=False, repeats=True)),  # too short for a loop
        ((7,) * 64, Repetition(loops=True, repeats=True)),
        (tuple(range(7)) * 2, Repetition(loops=False, repeats=False)),  # 7 runs of eight, all different
        ((), Repetition(loops=False, repeats=False)),
    ],
)
def test_what_texts_are_like(tokens, expected):
    assert repetition(tokens) == expected


def test_a_quarter_of_the_runs_is_enough_to_repeat():
    # 8 + r tokens, then those again: of 2 (8 + r) - 7 runs, 1 + r occurred before.
    for length, repeats in ((10, False), (12, True)):
        tokens = tuple(range(length)) * 2
        runs = len(tokens) - 7
        assert ((length - 7) / runs >= 0.25) is repeats
        assert repetition(tokens).repeats is repeats


@settings(deadline=None)
@given(period=st.integers(1, 32), begin=st.lists(st.integers(), max_size=40))
def test_a_short_period_at_the_end_is_a_loop_whatever_came_before(period, begin):
    assert repetition([*begin, *(i % period for i in range(64))]).loops
