"""The worth of a draft's probabilities."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.policies.calibration import BINS, Calibration

CHANCE = st.floats(0.01, 0.99)


def learnt(rounds, *, expected=0.6, tells, seed=0):
    """Return a calibration after rounds of one token, accepted with the probability `tells(prob)`."""
    random, found = Random(seed), Calibration()
    for _ in range(rounds):
        prob = random.random()
        accepted = int(random.random() < tells(prob))
        found.observe([prob], [expected], accepted, refused=not accepted)
    return found


@settings(deadline=None)
@given(CHANCE, st.floats(0.0, 1.0))
def test_a_new_one_leaves_what_was_expected(expected, prob):
    assert Calibration().acceptance_prob(expected, prob) == pytest.approx(expected)


def test_probabilities_that_tell_the_truth_are_believed():
    found = learnt(3000, expected=0.5, tells=lambda prob: prob)
    for here in range(BINS):
        middle = (here + 0.5) / BINS
        assert found.acceptance_prob(0.5, middle) == pytest.approx(middle, abs=0.15)  # 4 tokens speak against


def test_probabilities_that_tell_nothing_change_nothing():
    found = learnt(3000, expected=0.6, tells=lambda prob: 0.6)
    assert all(found.acceptance_prob(0.6, here / BINS) == pytest.approx(0.6, abs=0.1) for here in range(BINS))


def test_the_evidence_holds_when_the_text_becomes_harder():
    """Bayes: odds of .5 times the ratio of the bin, whatever odds it was learnt at."""
    found = learnt(3000, expected=0.5, tells=lambda prob: 0.8 if prob > 0.5 else 0.2)
    ratio = 0.8 / 0.2
    for expected in (0.2, 0.5, 0.9):
        odds = expected / (1 - expected) * ratio
        assert found.acceptance_prob(expected, 0.9) == pytest.approx(odds / (1 + odds), abs=0.12)


def test_it_is_worked_out_by_hand():
    found = Calibration()
    found.observe([0.9, 0.9, 0.1], [0.8, 0.5, 0.5], 1, refused=True)
    # Bin of 0.9: one accepted where .8 + .5 were expected, one refused where .2 + .5 were; w is 4.
    right = 0.5 * (1 + 4) / (1.3 + 4)
    wrong = 0.5 * (1 + 4) / (0.7 + 4)
    assert found.acceptance_prob(0.5, 0.95) == pytest.approx(right / (right + wrong))
    assert found.acceptance_prob(0.5, 0.1) == 0.5, "the token after the refusal was not judged"


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6), st.integers(0, 6))
def test_after_the_end_of_a_text_nothing_was_refused(probs, accepted):
    cut, known = Calibration(), Calibration()
    accepted = min(accepted, len(probs))
    expected = [0.5] * len(probs)
    cut.observe(probs, expected, accepted, refused=False)
    known.observe(probs[:accepted], expected, accepted, refused=False)
    assert cut == known


@settings(deadline=None)
@given(
    CHANCE, st.floats(0.0, 1.0), st.lists(st.tuples(st.floats(0.0, 1.0), CHANCE, st.booleans()), max_size=40)
)
def test_a_probability_stays_one_and_grows_with_what_is_expected(expected, prob, rounds):
    found = Calibration()
    for seen, foreseen, right in rounds:
        found.observe([seen], [foreseen], int(right), refused=not right)
    acceptance_prob = found.acceptance_prob(expected, prob)
    assert 0.0 < acceptance_prob < 1.0
    assert found.acceptance_prob(min(expected + 0.005, 0.999), prob) > acceptance_prob
    assert found.acceptance_prob(0.0, prob) == 0.0
