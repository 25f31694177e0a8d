"""Latency profiles: their answers, and their fit to measured rounds."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.clock import CostTableClock, DraftWork, ScoreWork, VerifyWork
from paceline.lab.recording.latency import DraftTimes, LatencyProfile
from paceline.lab.recording.latency_fit import Timing, centre, fit

PROFILE = LatencyProfile(
    verify={1: 10.0, 4: 16.0, 8: 20.0},
    context=100,
    context_s=0.01,
    drafts={
        "small": DraftTimes({1: 2.0, 4: 8.0}, {1: 0.5, 101: 10.5}, look_s=0.1),
        "lookup": DraftTimes({0: 0.25, 8: 0.25}, {}),
    },
    overhead_s=0.5,
)


@pytest.mark.parametrize(
    ("gamma", "lag", "seconds"),
    [
        (1, 0, 2.0),
        (2, 0, 4.0),
        (4, 0, 8.0),
        (6, 0, 12.0),
        (0, 0, 0.0),
        (1, 1, 2.5),
        (1, 51, 7.5),
        (1, 201, 22.5),
    ],
)
def test_drafting_takes_what_the_lines_between_measured_points_say(gamma, lag, seconds):
    assert PROFILE.draft_s("small", gamma, lag) == pytest.approx(seconds)


def test_a_lookup_that_finds_nothing_still_takes_its_time():
    assert PROFILE.draft_s("lookup", 0) == PROFILE.draft_s("lookup", 5) == 0.25


@pytest.mark.parametrize(
    ("length", "context", "seconds"),
    [(1, 100, 10.0), (2, 100, 12.0), (8, 100, 20.0), (10, 100, 22.0), (4, 200, 17.0), (4, 0, 15.0)],
)
def test_verifying_takes_a_line_in_the_length_and_a_slope_in_the_context(length, context, seconds):
    assert PROFILE.verify_s(length, context) == pytest.approx(seconds)


def test_an_unknown_draft_is_not_guessed():
    with pytest.raises(KeyError):
        PROFILE.draft_s("other", 1)


points = st.dictionaries(st.integers(1, 30), st.floats(0, 10), min_size=1, max_size=6)


@st.composite
def profiles(draw):
    rising = sorted(draw(points).items())
    verify, most = {}, 0.0
    for length, seconds in rising:
        most = max(most, seconds)
        verify[length] = most
    drafts = draw(st.dictionaries(st.sampled_from("ab"), st.builds(DraftTimes, points, points), min_size=1))
    return LatencyProfile(verify, draw(st.integers(0, 900)), draw(st.floats(0, 0.1)), drafts, 0.25)


@settings(deadline=None)
@given(profiles(), st.integers(0, 50), st.integers(0, 2000))
def test_every_answer_is_finite_and_not_negative_and_longer_blocks_never_take_less(profile, number, context):
    draft = next(iter(profile.drafts))
    assert 0.0 <= profile.draft_s(draft, number, context) < float("inf")
    shorter, longer = (profile.verify_s(length, context) for length in (number + 1, number + 2))
    assert 0.0 <= shorter <= longer + 1e-9 < float("inf")


@settings(deadline=None)
@given(profiles())
def test_a_sheet_survives_json(profile):
    assert LatencyProfile.from_json(json.loads(json.dumps(profile.to_json()))) == profile


def test_a_virtual_clock_runs_on_a_sheet():
    clock = CostTableClock(PROFILE)
    clock.spend(DraftWork("small", 4, 1))
    clock.spend(VerifyWork(5, 100))
    clock.spend(ScoreWork(("small",), {"small": 1}))
    assert clock.now() == pytest.approx(8.5 + 17.0 + 2.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"verify": {}},
        {"verify": {0: 1.0}},
        {"verify": {1: 2.0, 2: 1.0}},
        {"verify": {1: float("nan")}},
        {"context_s": -1.0},
        {"overhead_s": float("nan")},
    ],
)
def test_a_sheet_that_cannot_be_is_refused(wrong):
    values = {"verify": {1: 1.0}, "context": 0, "context_s": 0.0, "drafts": {}, "overhead_s": 0.0}
    with pytest.raises(ValueError, match=r"cannot|are|needed"):
        LatencyProfile(**values | wrong)


def test_draft_times_that_cannot_be_are_refused():
    for wrong in ({"tokens": {}}, {"tokens": {1: -1.0}}, {"catch_up": {-1: 1.0}}, {"look_s": -1.0}):
        with pytest.raises(ValueError, match=r"cannot|are|needed"):
            DraftTimes(**{"tokens": {1: 1.0}, "catch_up": {}} | wrong)


TRUE = LatencyProfile(
    verify={1: 3e-3, 2: 3.6e-3, 17: 6.6e-3},
    context=100,
    context_s=2e-6,
    drafts={
        "small": DraftTimes({1: 1e-3}, {1: 1e-4, 1001: 0.1001}, look_s=2e-4),
        "lookup": DraftTimes({0: 2e-5, 16: 4e-5}, {}),
    },
    overhead_s=1.5e-4,
)


def rounds_of(profile, *, count=3000, noise=0.0, outliers=0.0, seed=0):
    """Rounds of all kinds as a machine with these costs takes them."""
    random = Random(seed)
    found = []
    for _ in range(count):
        draft = random.choice(["small", "lookup", None])
        drafted = 0 if draft is None else random.randint(draft == "small", 16)
        lag = random.choice([0, 0, 1, 1, 3, 12, 40, 200]) if draft == "small" else 0
        context, looked = (
            random.randint(20, 400),
            draft is not None and drafted > 0 and random.random() < 0.25,
        )
        draft_s = 0.0 if draft is None else profile.draft_s(draft, drafted, lag)
        if looked:
            draft_s += profile.drafts[draft].look_s * drafted
        times = [draft_s, profile.verify_s(drafted + 1, context), profile.overhead_s]
        slow = 20.0 if random.random() < outliers else 1.0
        times = [one * slow * (1.0 + noise * random.random()) for one in times]
        found.append(Timing(draft, drafted, lag, context, looked, *times))
    return found


@pytest.mark.parametrize(
    ("noise", "outliers", "close"), [(0.0, 0.0, 1e-6), (0.1, 0.0, 0.1), (0.0, 0.05, 0.2)]
)
def test_what_rounds_took_is_found_again_in_shape_from_most_and_in_sum_from_all(noise, outliers, close):
    found = fit(rounds_of(TRUE, noise=noise, outliers=outliers), TRUE.drafts)
    # The mean of the noise; outliers count as 10 times what was expected.
    more = 1.0 + noise / 2 + outliers * 9.0
    for length in range(1, 18):
        for context in (30, 100, 400):
            expected = more * TRUE.verify_s(length, context)
            assert found.verify_s(length, context) == pytest.approx(expected, rel=close)
    for gamma in range(1, 17):
        for draft in ("small", "lookup"):
            expected = more * TRUE.draft_s(draft, gamma)
            assert found.draft_s(draft, gamma) == pytest.approx(expected, rel=close)
    assert found.draft_s("lookup", 0) == pytest.approx(more * 2e-5, rel=close)
    for lag in (1, 3, 12, 40, 200):
        expected = more * TRUE.draft_s("small", 8, lag)
        assert found.draft_s("small", 8, lag) == pytest.approx(expected, rel=max(close, 1e-3))
    assert found.overhead_s == pytest.approx(more * 1.5e-4, rel=close)
    assert found.drafts["small"].look_s == pytest.approx(more * 2e-4, rel=0.5 if noise or outliers else 1e-6)


def test_a_few_outliers_do_not_change_what_one_length_takes_against_another():
    found = fit(rounds_of(TRUE, outliers=0.05), TRUE.drafts)
    for length in range(2, 18):
        expected = TRUE.verify_s(length, 100) / TRUE.verify_s(1, 100)
        assert found.verify_s(length, 100) / found.verify_s(1, 100) == pytest.approx(expected, rel=1e-3)


def test_nothing_is_told_before_every_draft_was_measured():
    rounds = [one for one in rounds_of(TRUE, count=200) if one.draft != "lookup"]
    assert fit(rounds, TRUE.drafts) is None
    assert fit(rounds, ["small"]) is not None
    assert fit([], []) is None


def test_the_first_round_of_a_text_says_nothing_about_the_loops_own_share():
    rounds = rounds_of(TRUE, count=200)
    first = Timing("small", 3, 50, 100, False, 1e-3, 3e-3, None)
    assert fit([first] * 50 + rounds, TRUE.drafts).overhead_s == pytest.approx(1.5e-4)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 999), st.integers(4, 60))
def test_whatever_was_measured_makes_a_lawful_sheet(seed, count):
    random = Random(seed)
    rounds = [
        Timing(
            "d",
            random.randint(0, 5),
            random.choice([0, 1, 9]),
            50,
            random.random() < 0.5,
            *(random.random() for _ in range(3)),
        )
        for _ in range(count)
    ]
    profile = fit(rounds, ["d"])  # refuses by itself what is not lawful
    assert LatencyProfile.from_json(json.loads(json.dumps(profile.to_json()))) == profile


def test_the_centre_leaves_out_the_extremes_and_is_a_mean_of_the_rest():
    assert centre([5.0]) == 5.0
    assert centre([0.0, *[1.0] * 4, *[2.0] * 4, 1000.0]) == pytest.approx(1.5)


def test_a_timing_survives_json():
    for one in rounds_of(TRUE, count=20):
        again = Timing.from_json(json.loads(json.dumps(one.to_json())))
        assert again.draft_s == pytest.approx(one.draft_s, abs=1e-7)
        assert (again.draft, again.drafted, again.lag, again.looked) == (
            one.draft,
            one.drafted,
            one.lag,
            one.looked,
        )
    first = Timing(None, 0, 0, 9, False, 0.0, 1e-3, None)
    assert Timing.from_json(first.to_json()) == first
