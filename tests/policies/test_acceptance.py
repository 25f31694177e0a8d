"""Knowledge of a draft, against the truth and against a survival curve worked out by the book.

Draws from a Beta distribution.
"""

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.policies.acceptance import (
    ALL,
    Acceptance,
    Hazards,
    bucket,
    draw_beta,
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=30))
def test_a_position_is_counted_only_when_it_was_reached(proposals):
    hazards = Hazards(8)
    for accepted, refused in proposals:
        hazards.count(accepted, refused=refused)
    for k in range(8):
        assert hazards.accepted[k] == sum(accepted > k for accepted, _ in proposals)
        assert hazards.refused[k] == sum(refused and accepted == k for accepted, refused in proposals)


def test_positions_without_evidence_follow_the_mean_of_the_draft():
    hazards = Hazards(3)
    for _ in range(7):
        hazards.count(1, refused=True)
    a, b = list(hazards.posterior((2.0, 1.0), 4.0))[2]
    mean = (7 + 2) / (14 + 3)
    assert a == pytest.approx(4 * mean)
    assert a + b == pytest.approx(4)


def test_evidence_fades_by_the_discount():
    hazards = Hazards(2)
    hazards.count(1, refused=True)
    hazards.age(0.5)
    hazards.age(0.5)
    assert (hazards.accepted, hazards.refused) == ([0.25, 0.0], [0.0, 0.25])


SHAPES = [(1.5, 1.2), (2.7, 1.3), (1.3, 2.7), (5.0, 5.0), (40.0, 3.0), (3.0, 40.0), (300.0, 200.0)]


def furthest_apart(one, other):
    """Return the statistic of Kolmogorov and Smirnov for two samples of one size."""
    merged = sorted([(value, 1) for value in one] + [(value, -1) for value in other])
    apart = worst = 0
    for _, step in merged:
        apart += step
        worst = max(worst, abs(apart))
    return worst / len(one)


@pytest.mark.parametrize(("right", "wrong"), SHAPES)
def test_draws_are_distributed_as_those_of_the_standard_library(right, wrong):
    random, count = Random(7), 20_000
    mine = [draw_beta(random, right, wrong) for _ in range(count)]
    theirs = [random.betavariate(right, wrong) for _ in range(count)]
    assert furthest_apart(mine, theirs) < 1.95 * math.sqrt(2 / count)  # one in a thousand lies beyond
    assert furthest_apart(
        mine, [value + 0.1 / math.sqrt(right + wrong) for value in theirs]
    ) > 1.95 * math.sqrt(2 / count)


@pytest.mark.parametrize(("right", "wrong"), [*SHAPES, (0.5, 3.0), (1.0, 1.0)])
def test_moments_are_those_of_the_distribution(right, wrong):
    random, count = Random(3), 20_000
    draws = [draw_beta(random, right, wrong) for _ in range(count)]
    mean = sum(draws) / count
    total = right + wrong
    variance = right * wrong / (total * total * (total + 1))
    assert mean == pytest.approx(right / total, abs=5 * math.sqrt(variance / count))
    assert sum((one - mean) ** 2 for one in draws) / count == pytest.approx(variance, rel=0.08)
    assert all(0.0 <= one <= 1.0 for one in draws)


def test_equal_seeds_draw_alike():
    one, other = Random(1), Random(1)
    assert [draw_beta(one, 2.0, 3.0) for _ in range(50)] == [draw_beta(other, 2.0, 3.0) for _ in range(50)]


PROPOSAL = st.integers(0, 6).flatmap(
    lambda gamma: st.tuples(st.just(gamma), st.integers(0, gamma), st.booleans())
)


def bare(size=6, discount=1.0, pooling=1e-9):
    """Return one that adds nothing of its own to what it counts."""
    return Acceptance(size, discount, (1e-12, 1e-12), pooling)


def kaplan_meier(proposals, size):
    """Return the probability to survive each position, from times of death and of censoring (Kaplan and Meier 1958)."""
    curve, survival = [], 1.0
    for place in range(size):
        deaths = sum(1 for accepted, refused in proposals if refused and accepted == place)
        # At risk: whoever was seen to pass or to die here. One that was censored before it got here is not.
        at_risk = deaths + sum(1 for accepted, _ in proposals if accepted > place)
        survival *= 1.0 - deaths / at_risk if at_risk else math.nan
        curve.append(survival)
    return curve


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40))
def test_without_pooling_it_is_the_curve_of_kaplan_and_meier(proposals):
    proposals = [(accepted, refused and accepted < 6) for accepted, refused in proposals]
    known = bare()
    for accepted, refused in proposals:
        known.observe(None, accepted, refused=refused)
    survival = 1.0
    for acceptance_prob, expected in zip(
        known.acceptance_probs(None), kaplan_meier(proposals, 6), strict=True
    ):
        if math.isnan(expected):
            break
        survival *= acceptance_prob
        assert survival == pytest.approx(expected, abs=1e-6)


def test_it_finds_the_truth_whatever_gammas_were_planned():
    truth, random = (0.9, 0.6, 0.8, 0.3), Random(1)
    known = bare(4)
    for _ in range(50_000):
        gamma, accepted = random.randint(1, 4), 0
        while accepted < gamma and random.random() < truth[accepted]:
            accepted += 1
        known.observe(None, accepted, refused=accepted < gamma)
    assert list(known.acceptance_probs(None)) == pytest.approx(truth, abs=0.02)


@settings(deadline=None)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=6))
def test_scores_of_ones_and_zeros_count_like_the_proposal_they_stand_for(bits):
    scored, proposed = bare(), bare()
    scored.count_scores(3, [float(bit) for bit in bits])
    accepted = bits.index(0) if 0 in bits else len(bits)
    proposed.observe(3, accepted, refused=0 in bits)
    assert scored == proposed


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6))
def test_scores_between_count_what_they_expect(acceptance_probs):
    scored = bare()
    scored.count_scores(None, acceptance_probs)
    reached = 1.0
    for place, acceptance_prob in enumerate(acceptance_probs):
        right, wrong = (scored.counts[ALL].accepted[place], scored.counts[ALL].refused[place])
        assert right == pytest.approx(reached * acceptance_prob, abs=1e-12)
        assert wrong == pytest.approx(reached * (1 - acceptance_prob), abs=1e-12)
        reached *= acceptance_prob


def test_what_a_match_length_is_worth_is_learnt_for_each_bucket():
    known = Acceptance(4, 1.0, (2.0, 1.0), 4.0)
    before = next(known.acceptance_probs(3))
    for _ in range(30):
        known.observe(9, 4, refused=False)
        known.observe(1, 0, refused=True)
    long, short, unseen = (next(known.acceptance_probs(match_length)) for match_length in (12, 1, 3))
    assert long > 0.9 > unseen > 0.1 > short
    assert unseen == before


@given(st.integers(1, 300), st.integers(1, 300))
def test_a_longer_match_promises_no_less_before_anything_is_known(length, more):
    known = Acceptance(4, 1.0, (2.0, 1.0), 4.0)
    shorter, longer = list(known.acceptance_probs(length)), list(known.acceptance_probs(length + more))
    assert 0.2 < shorter[0] <= longer[0] < 1.0
    assert shorter == sorted(shorter)


def test_matches_of_a_draft_that_is_always_wrong_promise_little_wherever_they_are():
    known = Acceptance(4, 0.94, (2.0, 1.0), 4.0)
    for _ in range(80):
        known.observe(1, 0, refused=True)
    assert next(known.acceptance_probs(20)) < 0.1


@pytest.mark.parametrize(
    ("match_length", "name"), [(None, "all"), (0, "0"), (1, "1"), (2, "2"), (3, "2"), (4, "3"), (99, "6")]
)
def test_match_lengths_within_a_power_of_two_share_a_bucket(match_length, name):
    assert bucket(match_length) == name


@settings(deadline=None)
@given(st.lists(st.tuples(st.none() | st.integers(0, 40), st.integers(0, 6), st.booleans()), max_size=30))
def test_every_probability_lies_between_its_own_share_and_the_mean(proposals):
    known = Acceptance(6, 0.9, (2.0, 1.0), 4.0)
    for match_length, accepted, refused in proposals:
        known.observe(match_length, accepted, refused=refused)
    for match_length in (None, 1, 40):
        assert all(0.0 < acceptance_prob < 1.0 for acceptance_prob in known.acceptance_probs(match_length))


def test_draws_scatter_around_the_probabilities_and_less_the_more_is_known():
    spread = {}
    for rounds in (5, 200):
        known = Acceptance(3, 1.0, (2.0, 1.0), 4.0)
        for i in range(rounds):
            known.observe(5, i % 4, refused=i % 4 < 3)
        random = Random(0)
        for match_length in (None, 5):
            draws = [list(known.sample(match_length, random)) for _ in range(4000)]
            for place, acceptance_prob in enumerate(known.acceptance_probs(match_length)):
                column = [draw[place] for draw in draws]
                assert sum(column) / len(column) == pytest.approx(acceptance_prob, abs=0.02)
            first = [draw[0] for draw in draws]
            mean = sum(first) / len(first)
            spread[rounds] = math.sqrt(sum((one - mean) ** 2 for one in first) / len(first))
    assert spread[200] < spread[5] / 3


def test_a_draft_at_rest_comes_to_be_trusted_as_in_the_long_run():
    """One that was good for long and bad lately gets another chance; one that was always bad does not."""
    acceptance_probs = {}
    for name, verdicts in {"good": [3] * 60 + [0] * 20, "bad": [0] * 80}.items():
        known = Acceptance(4, 0.94, (2.0, 1.0), 4.0)
        for accepted in verdicts:
            known.observe(None, accepted, refused=True)
        assert next(known.acceptance_probs(None)) < 0.35
        for _ in range(400):
            known.rest(0.98)
        acceptance_probs[name] = next(known.acceptance_probs(None))
    assert acceptance_probs["good"] > 0.6
    assert acceptance_probs["bad"] < 0.1
