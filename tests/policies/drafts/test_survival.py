"""The expected tokens of a round from scores: against the source's own formula."""

import json
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.policies.drafts.survival import Survival, read_survival


def source(scores):
    """Return L of a block by the source's formula: K scores, and a last one of 0."""
    g = [*scores, 0.0]
    return sum((k + 1) * (1 - g[k]) * prod(g[:k]) for k in range(len(g)))


def survival_of(scores, size=4, keep=1.0):
    survival = Survival(size)
    for score in scores:
        survival.add(score, keep)
    return survival


def test_two_tokens_by_hand():
    """With .5 and .8: 1 token in .5 of rounds, 2 in .1, 3 in .4."""
    assert source([0.5, 0.8]) == pytest.approx(0.5 + 2 * 0.1 + 3 * 0.4)
    assert pytest.approx(1.9) == 1 + 0.5 + 0.5 * 0.8


@given(st.lists(st.floats(0, 1), max_size=12))
def test_the_sources_formula_is_one_plus_the_products(scores):
    assert source(scores) == pytest.approx(1 + sum(prod(scores[:k]) for k in range(1, len(scores) + 1)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 4))
def test_the_means_are_those_of_every_block_in_the_text(scores, k):
    survival = survival_of(scores)
    blocks = [prod(scores[t : t + k]) for t in range(len(scores) - k + 1)]
    assert survival.counts[k - 1] == len(blocks)
    assert survival.sums[k - 1] == pytest.approx(sum(blocks))


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=40, max_size=60))
def test_on_a_long_text_the_mean_is_that_of_the_sources_formula(scores):
    """Blocks near the end are not over yet, so the two differ by at most a block in the number of places."""
    size = 3
    blocks = [source(scores[t : t + size]) for t in range(len(scores) - size + 1)]
    mean = sum(blocks) / len(blocks)
    assert survival_of(scores, size).tokens(size) == pytest.approx(mean, abs=0.25)


def test_old_tokens_fade():
    survival = survival_of([0.0] * 50 + [1.0] * 50, size=1, keep=0.9)
    assert survival.tokens(1) == pytest.approx(2.0, abs=0.01)


def test_blocks_do_not_reach_over_a_pause():
    survival = survival_of([1.0, 1.0], size=2)
    survival.pause()
    survival.add(0.0, 1.0)
    assert survival.counts == [3.0, 1.0]
    assert survival.sums == [2.0, 1.0]


def test_where_no_block_was_as_long_yet_the_first_chance_stands_in():
    assert list(survival_of([0.5], size=3).chances()) == [0.5, 0.5, 0.5]
    assert list(Survival(2).chances()) == [0.0, 0.0]


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.5, 1))
def test_chances_are_chances(scores, keep):
    assert all(0.0 <= chance <= 1.0 for chance in survival_of(scores, keep=keep).chances())


def test_a_longer_block_survives_no_better_than_a_shorter_one():
    """Faded means need not fall with k: .5, .8, .25 are read as .5, .5, .25."""
    survival = Survival(3)
    survival.sums, survival.counts = [0.5, 0.8, 0.25], [1.0, 1.0, 1.0]
    assert list(survival.chances()) == [0.5, 1.0, 0.5]


@given(st.lists(st.floats(0, 1), max_size=9))
def test_it_goes_on_where_it_was_saved(scores):
    survival = survival_of(scores)
    read = read_survival(json.loads(json.dumps(survival.save())), 4, "it")
    for one in (survival, read):
        one.add(0.3, 0.9)
    assert read.save() == survival.save()


@pytest.mark.parametrize(
    "saved", [None, [[], [0.0], [0.0]], [[0.0] * 5, [0.0] * 4, [0.0] * 4], [[-1.0], [0.0] * 4, [0.0] * 4]]
)
def test_a_damaged_window_is_refused(saved):
    with pytest.raises(ValueError, match="damaged"):
        read_survival(saved, 4, "it")
