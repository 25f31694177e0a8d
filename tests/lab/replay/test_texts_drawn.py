from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_recordings import lab_recordings

from paceline.core.errors import TraceError
from paceline.lab.replay.texts import check_drawn, drawn, runs


@given(st.lists(st.booleans(), max_size=30))
def test_runs_count_what_is_set_in_a_row(bits):
    wanted = [next((k for k, bit in enumerate(bits[i:]) if not bit), len(bits) - i) for i in range(len(bits))]
    assert runs(np.array(bits, bool)).tolist() == wanted


@settings(deadline=None)
@given(lab_recordings(sampled=True), st.integers(0, 9))
def test_drawing_depends_on_seed_and_text_alone_and_touches_no_draft_without_probabilities(recording, seed):
    for text in recording:
        once, again = (drawn(text, recording.header, seed=seed) for _ in range(2))
        for name, starts in once.drafts.items():
            assert (starts.agreed == again.drafts[name].agreed).all()
            assert (starts.agreed <= starts.offered).all()
            if text.drafts[name].acceptance_probs is None:
                assert starts is text.drafts[name]


@settings(deadline=None, max_examples=20)
@given(lab_recordings(sampled=True, drafts=["head"]))
def test_what_is_certain_is_not_drawn_otherwise(recording):
    certain = [
        replace(
            text,
            drafts={
                name: replace(starts, acceptance_probs=np.round(starts.acceptance_probs))
                for name, starts in text.drafts.items()
            },
        )
        for text in recording
    ]
    for text in certain:
        for starts in drawn(text, recording.header, seed=1).drafts.values():
            wanted = np.minimum(runs(starts.acceptance_probs == 1.0), starts.offered)
            assert (starts.agreed == wanted).all()


@settings(deadline=None, max_examples=20)
@given(lab_recordings(sampled=True, drafts=["head"], most_tokens=12))
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


@settings(deadline=None, max_examples=5)
@given(lab_recordings())
def test_a_greedy_recording_cannot_be_drawn_anew(recording):
    if recording.header.mode == "greedy":
        with pytest.raises(TraceError, match="leave out --draws"):
            check_drawn(recording.header)
    else:
        check_drawn(recording.header)
