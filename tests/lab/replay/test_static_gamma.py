import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_recordings import lab_recordings

from paceline.lab.replay import static_gamma as module
from paceline.lab.replay.simulator import Simulator
from paceline.lab.replay.static_gamma import (
    PLAIN,
    StaticGamma,
    best,
    segmented_s,
    static_gammas,
    sweep,
    token_seconds,
)
from paceline.policies.static import StaticConfig


def played(recording, text, static):
    policy = StaticConfig(gamma=static.gamma, draft=static.draft).build()
    return Simulator(recording.header, policy).play(text)


def check(recording):
    asked = static_gammas(recording.header)
    for text, found in zip(recording, sweep(recording.header, recording), strict=True):
        for static, totals in zip(asked, found, strict=True):
            expected = played(recording, text, static)
            exact = ("gammas", "drafts", "reached", "agreed", "rounds", "emitted")
            for key in exact:
                assert getattr(totals, key) == getattr(expected, key), (static, key)
            for key in ("seconds", "draft_s", "verify_s", "drafted", "accepted"):
                assert getattr(totals, key) == pytest.approx(getattr(expected, key), rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(lab_recordings(most_tokens=25))
def test_the_sweep_finds_what_the_simulator_finds(recording):
    check(recording)


@settings(deadline=None, max_examples=20)
@given(recording=lab_recordings(most_tokens=25))
def test_it_does_not_matter_how_many_rounds_and_texts_are_taken_together(recording):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROUNDS", 7)
        patch.setattr(module, "TEXTS", 2)
        check(recording)


@settings(deadline=None, max_examples=5)
@given(lab_recordings(drafts=["model", "lookup"]))
def test_static_gammas_are_plain_decoding_and_each_draft_with_each_gamma(recording):
    found = static_gammas(recording.header)
    assert found[0] == PLAIN
    assert len(found) == len(set(found)) == 1 + 2 * recording.header.longest


@settings(deadline=None, max_examples=50)
@given(lab_recordings())
def test_the_seconds_of_tokens_add_up_to_those_of_the_text_and_are_alike_in_each_round(recording):
    for text, found in zip(recording, sweep(recording.header, recording), strict=True):
        for (static, seconds), totals in zip(
            token_seconds(recording.header, text).items(), found, strict=True
        ):
            assert seconds.sum() == pytest.approx(totals.seconds)
            rounds = []
            policy = StaticConfig(gamma=static.gamma, draft=static.draft).build()
            Simulator(recording.header, policy, on_round=rounds.append).play(text)
            shares = [share for done in rounds for share in [done.total_s / done.emitted] * done.emitted]
            assert seconds.tolist() == pytest.approx(shares)


@settings(deadline=None)
@given(lab_recordings(), st.integers(1, 8))
def test_shorter_segments_never_take_longer_and_one_segment_is_the_best_of_the_text(recording, window):
    for text in recording:
        found = token_seconds(recording.header, text)
        whole = min(float(each.sum()) for each in found.values())
        assert segmented_s(found, len(text.tokens)) == pytest.approx(whole)
        halves, parts = segmented_s(found, 2 * window), segmented_s(found, window)
        assert parts <= halves * (1 + 1e-9) <= whole * (1 + 2e-9)


def test_segments_add_up_the_best_of_each():
    found = {
        PLAIN: np.array([1.0, 1.0, 1.0, 1.0, 1.0]),
        StaticGamma(2, "a"): np.array([0.5, 0.5, 3.0, 3.0, 0.1]),
    }
    assert segmented_s(found, 2) == pytest.approx(1.0 + 2.0 + 0.1)


def test_the_best_of_some_texts_is_that_with_the_least_sum_and_of_equals_the_shorter():
    one, other, same = StaticGamma(1, "a"), StaticGamma(3, "a"), StaticGamma(1, "b")
    assert best([{one: 1.0, other: 3.0}, {one: 5.0, other: 2.0}]) == other
    assert best([{other: 1.0, same: 1.0}]) == same
    assert str(PLAIN) == "plain"
    assert str(other) == "a 3"
