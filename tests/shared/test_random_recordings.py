"""Random recordings keep to what the model of a recording says."""

import numpy as np
from hypothesis import given, settings
from random_recordings import lab_recordings


@settings(deadline=None)
@given(lab_recordings())
def test_a_random_recording_is_lawful(recording):
    header = recording.header
    for text in recording:
        count = len(text.tokens)
        assert 1 <= count <= text.max_new_tokens
        assert text.ended == "eos" or count == text.max_new_tokens
        assert text.drafts.keys() == header.drafts.keys()
        for name, starts in text.drafts.items():
            info = header.drafts[name]
            assert starts.offered.dtype == starts.agreed.dtype == np.int16
            assert starts.offered.shape == starts.agreed.shape == (count,)
            assert (starts.agreed >= 0).all()
            assert (starts.agreed <= np.minimum(starts.offered, count - np.arange(count))).all()
            assert (starts.offered <= header.longest).all()
            assert (starts.match_lengths is not None) == info.match_lengths
            assert starts.signals.keys() == info.signals
            assert all(values.shape == (count, header.longest) for values in starts.signals.values())
            if header.mode == "sampled" and not info.match_lengths:
                assert starts.acceptance_probs is not None
                assert (starts.agreed[starts.acceptance_probs == 0] == 0).all()
                assert (starts.agreed[(starts.acceptance_probs == 1) & (starts.offered > 0)] > 0).all()


@settings(deadline=None)
@given(lab_recordings(drafts=["model"], sampled=False))
def test_a_draft_that_knows_the_context_alone_agrees_with_itself(recording):
    for text in recording:
        starts = text.drafts["model"]
        for start in range(len(text.tokens) - 1):
            if 1 <= starts.agreed[start] < starts.offered[start] and starts.offered[start + 1]:
                assert starts.agreed[start + 1] == starts.agreed[start] - 1


@settings(deadline=None)
@given(lab_recordings())
def test_the_texts_can_be_asked_for_by_name(recording):
    assert [recording.texts[name] for name in recording.texts.names()] == list(recording)
