"""A latency profile: lines between what was measured, and a cost model that a virtual clock can run on."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.clock import CostTableClock, DraftWork, ScoreWork, VerifyWork
from paceline.lab.recording.latency import DraftTimes, LatencyProfile

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
