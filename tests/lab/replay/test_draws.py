from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from paceline.core.errors import TraceError
from paceline.lab.replay.draws import check_drawn, drawn, runs
from paceline.lab.replay.expectation import expected
from paceline.lab.replay.sweep import choices, sweep
from paceline.lab.testing import lab_recordings


@given(st.lists(st.booleans(), max_size=30))
def test_runs_count_what_is_set_in_a_row(bits):
    wanted = [next((k for k, bit in enumerate(bits[i:]) if not bit), len(bits) - i) for i in range(len(bits))]
    assert runs(np.array(bits, bool)).tolist() == wanted


@settings(deadline=None)
@given(lab_recordings(sampled=True), st.integers(0, 9))
def test_drawing_depends_on_seed_and_text_alone_and_touches_no_draft_without_chances(recording, seed):
    for text in recording:
        once, again = (drawn(text, recording.header, seed=seed) for _ in range(2))
        for name, starts in once.drafts.items():
            assert (starts.agreed == again.drafts[name].agreed).all()
            assert (starts.agreed <= starts.offered).all()
            if text.drafts[name].chance is None:
                assert starts is text.drafts[name]


@settings(deadline=None, max_examples=20)
@given(lab_recordings(sampled=True, drafts=["head"]))
def test_what_is_certain_is_not_drawn_otherwise(recording):
    certain = [
        replace(
            text,
            drafts={
                name: replace(starts, chance=np.round(starts.chance)) for name, starts in text.drafts.items()
            },
        )
        for text in recording
    ]
    for text in certain:
        for starts in drawn(text, recording.header, seed=1).drafts.values():
            wanted = np.minimum(runs(starts.chance == 1.0), starts.offered)
            assert (starts.agreed == wanted).all()


@settings(deadline=None, max_examples=20)
@given(lab_recordings(sampled=True, drafts=["head"], wanted=12))
def test_signals_stay_along_the_text_where_they_do_not_depend_on_the_draw(recording):
    for text in recording:
        before = text.drafts["head"].signals
        now = drawn(text, recording.header, seed=3).drafts["head"]
        assert np.isnan(now.signals["prob"]).all()
        for start, agreed in enumerate(now.agreed.tolist()):
            for column, value in enumerate(now.signals["entropy"][start].tolist()):
                if column > agreed or start + column >= len(text.tokens):
                    assert np.isnan(value)
                else:
                    assert value == before["entropy"][start + column, 0]


@settings(deadline=None, max_examples=30)
@given(lab_recordings(sampled=False, wanted=20))
def test_the_expectation_of_what_is_certain_is_what_the_sweep_finds(recording):
    asked = choices(recording.header)
    for text, found in zip(recording, sweep(recording.header, recording), strict=True):
        for choice, outcome in zip(asked, found, strict=True):
            mean = expected(recording.header, text, choice)
            counts = (outcome.rounds, outcome.drafted, outcome.accepted)
            assert (mean.rounds, mean.drafted, mean.accepted) == counts
            assert mean.seconds == pytest.approx(outcome.seconds, rel=1e-9)


@settings(deadline=None, max_examples=20)
@given(st.data())
def test_the_expectation_is_the_mean_over_every_way_the_draws_can_fall(data):
    """All patterns of bits are counted out, each with its probability."""
    recording = data.draw(lab_recordings(sampled=True, drafts=["model"], wanted=6, texts=1))
    (text,) = recording
    starts, count = text.drafts["model"], len(text.tokens)
    assume(count <= 6)
    chance = starts.chance.astype(float)
    asked = choices(recording.header)
    patterns = [[bool(number >> place & 1) for place in range(count)] for number in range(1 << count)]
    ways, weights = [], []
    for bits in patterns:
        agreed = np.minimum(runs(np.array(bits)), starts.offered).astype(np.int16)
        ways.append(replace(text, drafts={"model": replace(starts, agreed=agreed)}))
        weights.append(np.prod(np.where(bits, chance, 1 - chance)))
    found = list(sweep(recording.header, ways))
    for place, choice in enumerate(asked):
        mean = expected(recording.header, text, choice)
        for key in ("rounds", "drafted", "accepted", "seconds"):
            exact = sum(w * getattr(one[place], key) for w, one in zip(weights, found, strict=True))
            assert getattr(mean, key) == pytest.approx(exact, rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=5)
@given(lab_recordings())
def test_a_greedy_recording_cannot_be_drawn_anew(recording):
    if recording.header.mode == "greedy":
        with pytest.raises(TraceError, match="leave out --draws"):
            check_drawn(recording.header)
    else:
        check_drawn(recording.header)
