"""Static choices take what a static policy takes in the replay, and never less than the optimum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.lab.oracle.optimum import clairvoyant, expectation
from paceline.lab.oracle.static import PLAIN, Static, best, segmented_s, statics
from paceline.lab.replay.draws import runs
from paceline.lab.replay.sweep import choices, sweep
from paceline.lab.simulate import Simulator
from paceline.lab.testing import lab_recordings
from paceline.policies.static import StaticConfig


class Stubborn:
    """A static policy with a draft that need not be the first one."""

    def __init__(self, static):
        self._inner = StaticConfig(gamma=static.gamma).build()
        self._draft = static.draft or None

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def plan(self, start):
        plan = self._inner.plan(start)
        return replace(plan, draft=self._draft) if plan.gamma else plan


@settings(deadline=None, max_examples=50)
@given(lab_recordings())
def test_every_static_choice_takes_what_a_static_policy_takes_in_the_replay(recording):
    for text in recording:
        for static, seconds in statics(text, recording.header).items():
            outcome = Simulator(recording.header, Stubborn(static)).play(text)
            assert seconds.sum() == pytest.approx(outcome.seconds)


@settings(deadline=None)
@given(lab_recordings())
def test_no_static_choice_beats_the_optimum(recording):
    for text in recording:
        least = clairvoyant(text, recording.header).seconds
        assert all(each.sum() >= least * (1 - 1e-9) for each in statics(text, recording.header).values())


@settings(deadline=None, max_examples=30)
@given(lab_recordings(sampled=True, drafts=["model"], most_tokens=5, texts=1))
def test_no_static_choice_beats_the_optimum_in_expectation_on_average(recording):
    """On average over all patterns of accepted tokens, each with its probability."""
    header, (text,) = recording.header, recording
    starts, count = text.drafts["model"], len(text.tokens)
    chance, sums = starts.chance.astype(float), dict.fromkeys(choices(header), 0.0)
    for number in range(1 << count):
        bits = np.array([bool(number >> place & 1) for place in range(count)])
        agreed = np.minimum(runs(bits), starts.offered).astype(np.int16)
        drawn = replace(text, drafts={"model": replace(starts, agreed=agreed)})
        weight = float(np.prod(np.where(bits, chance, 1 - chance)))
        ((outcomes),) = sweep(header, [drawn])
        for choice, outcome in zip(sums, outcomes, strict=True):
            sums[choice] += weight * outcome.seconds
    least = expectation(text, header).seconds
    assert min(sums.values()) >= least * (1 - 1e-9)
    if count == 1:  # one round, so that some static choice is what is best there
        assert min(sums.values()) == pytest.approx(least)


@settings(deadline=None)
@given(lab_recordings(), st.integers(1, 8))
def test_shorter_segments_never_take_longer_and_one_segment_is_the_best_of_the_text(recording, window):
    for text in recording:
        found = statics(text, recording.header)
        whole = min(float(each.sum()) for each in found.values())
        assert segmented_s(found, len(text.tokens)) == pytest.approx(whole)
        halves, parts = segmented_s(found, 2 * window), segmented_s(found, window)
        assert parts <= halves * (1 + 1e-9) <= whole * (1 + 2e-9)


def test_segments_add_up_the_best_of_each():
    found = {PLAIN: np.array([1.0, 1.0, 1.0, 1.0, 1.0]), Static("a", 2): np.array([0.5, 0.5, 3.0, 3.0, 0.1])}
    assert segmented_s(found, 2) == pytest.approx(1.0 + 2.0 + 0.1)


def test_the_best_of_some_texts_is_that_with_the_least_sum_and_of_equals_the_shorter():
    one, other, same = Static("a", 1), Static("a", 3), Static("b", 1)
    assert best([{one: 1.0, other: 3.0}, {one: 5.0, other: 2.0}]) == other
    assert best([{other: 1.0, same: 1.0}]) == same
    assert str(PLAIN) == "plain"
    assert str(other) == "a 3"
