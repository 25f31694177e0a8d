"""What is known of a draft, against the truth and against a survival curve worked out by the book."""

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.policies.acceptance import ALL, Acceptance, bucket

PROPOSAL = st.integers(0, 6).flatmap(
    lambda gamma: st.tuples(st.just(gamma), st.integers(0, gamma), st.booleans())
)


def bare(size=6, discount=1.0, pooling=1e-9):
    """Return one that adds nothing of its own to what it counts."""
    return Acceptance(size, discount, (1e-12, 1e-12), pooling)


def kaplan_meier(proposals, size):
    """Return the chance to survive each position, from times of death and of censoring (Kaplan and Meier 1958)."""
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
    for chance, expected in zip(known.chances(None), kaplan_meier(proposals, 6), strict=True):
        if math.isnan(expected):
            break
        survival *= chance
        assert survival == pytest.approx(expected, abs=1e-6)


def test_it_finds_the_truth_whatever_gammas_were_planned():
    truth, random = (0.9, 0.6, 0.8, 0.3), Random(1)
    known = bare(4)
    for _ in range(50_000):
        gamma, accepted = random.randint(1, 4), 0
        while accepted < gamma and random.random() < truth[accepted]:
            accepted += 1
        known.observe(None, accepted, refused=accepted < gamma)
    assert list(known.chances(None)) == pytest.approx(truth, abs=0.02)


@settings(deadline=None)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=6))
def test_scores_of_ones_and_zeros_count_like_the_proposal_they_stand_for(bits):
    scored, proposed = bare(), bare()
    scored.weigh(3, [float(bit) for bit in bits])
    accepted = bits.index(0) if 0 in bits else len(bits)
    proposed.observe(3, accepted, refused=0 in bits)
    assert scored.save() == proposed.save()


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6))
def test_scores_between_count_what_they_expect(chances):
    scored = bare()
    scored.weigh(None, chances)
    reached = 1.0
    for place, chance in enumerate(chances):
        right, wrong = (side[place] for side in scored.save()["counts"][ALL])
        assert right == pytest.approx(reached * chance, abs=1e-12)
        assert wrong == pytest.approx(reached * (1 - chance), abs=1e-12)
        reached *= chance


def test_a_match_length_matters_once_it_has_been_seen_to():
    known = Acceptance(4, 1.0, (2.0, 1.0), 4.0)
    for _ in range(30):
        known.observe(9, 4, refused=False)
        known.observe(1, 0, refused=True)
    long, short, unseen = (next(known.chances(match_length)) for match_length in (12, 1, 3))
    assert long > 0.9 > unseen > 0.1 > short
    assert unseen == next(known.chances(None))


@pytest.mark.parametrize(
    ("match_length", "name"), [(None, "all"), (0, "0"), (1, "1"), (2, "2"), (3, "2"), (4, "3"), (99, "6")]
)
def test_match_lengths_within_a_power_of_two_share_a_bucket(match_length, name):
    assert bucket(match_length) == name


@settings(deadline=None)
@given(st.lists(st.tuples(st.none() | st.integers(0, 40), st.integers(0, 6), st.booleans()), max_size=30))
def test_every_chance_lies_between_its_own_share_and_the_mean(proposals):
    known = Acceptance(6, 0.9, (2.0, 1.0), 4.0)
    for match_length, accepted, refused in proposals:
        known.observe(match_length, accepted, refused=refused)
    for match_length in (None, 1, 40):
        assert all(0.0 < chance < 1.0 for chance in known.chances(match_length))


def test_draws_scatter_around_the_chances_and_less_the_more_is_known():
    spread = {}
    for rounds in (5, 200):
        known = Acceptance(3, 1.0, (2.0, 1.0), 4.0)
        for i in range(rounds):
            known.observe(5, i % 4, refused=i % 4 < 3)
        random = Random(0)
        for match_length in (None, 5):
            draws = [list(known.drawn(match_length, random)) for _ in range(4000)]
            for place, chance in enumerate(known.chances(match_length)):
                column = [draw[place] for draw in draws]
                assert sum(column) / len(column) == pytest.approx(chance, abs=0.02)
            first = [draw[0] for draw in draws]
            mean = sum(first) / len(first)
            spread[rounds] = math.sqrt(sum((one - mean) ** 2 for one in first) / len(first))
    assert spread[200] < spread[5] / 3


def test_a_draft_at_rest_comes_to_be_trusted_as_in_the_long_run():
    """One that was good for long and bad lately gets another chance; one that was always bad does not."""
    chances = {}
    for name, verdicts in {"good": [3] * 60 + [0] * 20, "bad": [0] * 80}.items():
        known = Acceptance(4, 0.94, (2.0, 1.0), 4.0)
        for accepted in verdicts:
            known.observe(1, accepted, refused=True)
        assert next(known.chances(1)) < 0.35
        for _ in range(400):
            known.rest(0.98)
        chances[name] = next(known.chances(1))
    assert chances["good"] > 0.6
    assert chances["bad"] < 0.1


@pytest.mark.parametrize(
    "damage",
    [
        None,
        [],
        {"counts": {"all": 3}, "long": [2.0, 1.0]},
        {"counts": {"all": [[1.0], [1.0]]}, "long": [2.0, 1.0]},
        {"counts": {"nine": [[0.0] * 4] * 2}, "long": [2.0, 1.0]},
        {"counts": {"all": [[-1.0] * 4, [0.0] * 4]}, "long": [2.0, 1.0]},
        {"counts": {}, "long": [0.0, 0.0]},
        {"counts": {}, "long": [1.0]},
        {"counts": {}},
    ],
)
def test_damaged_counts_are_refused_and_change_nothing(damage):
    known = Acceptance(4, 0.94, (2.0, 1.0), 4.0)
    known.observe(1, 2, refused=True)
    before = known.save()
    with pytest.raises(ValueError, match="damaged"):
        known.load(damage)
    assert known.save() == before
