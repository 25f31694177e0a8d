import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_recordings import lab_recordings

from paceline.core.errors import TraceError
from paceline.core.testing.doubles import ScriptedPolicy
from paceline.lab.replay.simulator import Simulator
from paceline.lab.replay.texts import Brief, Stop, briefs, half, ordered, spliced, text_at

TEXTS = [
    Brief("a/1", "a", 9),
    Brief("b/1", "b", 8),
    Brief("a/2", "a", 1),
    Brief("c/1", "c", 30),
    Brief("b/2", "b", 8),
]


def test_kinds_follow_one_another_as_they_first_occur():
    assert [stop.text for stop in ordered(TEXTS, "by-kind")] == ["a/1", "a/2", "b/1", "b/2", "c/1"]
    assert [stop.text for stop in ordered(TEXTS, "recorded")] == [one.name for one in TEXTS]


@given(st.integers(0, 50), st.integers(0, 50))
def test_shuffling_is_a_matter_of_the_seed(one, other):
    first, second = (ordered(TEXTS, "shuffled", seed=seed) for seed in (one, other))
    assert sorted(stop.text for stop in first) == sorted(brief.name for brief in TEXTS)
    if one == other:
        assert first == second


def test_some_seeds_shuffle_differently():
    assert len({tuple(ordered(TEXTS, "shuffled", seed=seed)) for seed in range(10)}) > 5


@given(st.integers(0, 50))
def test_texts_switch_to_another_kind_that_is_long_enough(seed):
    known = {one.name: one for one in TEXTS}
    found = ordered(TEXTS, "switching", seed=seed)
    assert {stop.text for stop in found} == {"a/1", "b/1", "b/2"} | ({"c/1"} & {stop.text for stop in found})
    for stop in found:
        first, second = known[stop.text], known[stop.then]
        assert first.kind != second.kind
        assert 0 < half(first.tokens) < second.tokens


def test_a_recording_of_one_kind_cannot_switch():
    with pytest.raises(TraceError, match="leave out the order `switching`"):
        ordered([Brief("a/1", "a", 9), Brief("a/2", "a", 9)], "switching")


@settings(deadline=None)
@given(lab_recordings(texts=2, most_tokens=20), st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_a_spliced_text_is_the_first_one_and_then_the_other(recording, script):
    if len(briefs(recording)) < 2:
        return
    first, second = recording
    at = half(len(first.tokens))
    if not 0 < at < len(second.tokens):
        with pytest.raises(TraceError, match="too short"):
            spliced(first, second)
        return
    joined = text_at(recording, Stop(first.name, second.name))
    assert joined.tokens == (*first.tokens[:at], *second.tokens[at:])
    assert (joined.max_new_tokens, joined.ended) == (second.max_new_tokens, second.ended)
    for name, starts in joined.drafts.items():
        for start in range(len(joined.tokens)):
            source = first if start < at else second
            kept = source.drafts[name]
            assert starts.offered[start] == kept.offered[start]
            most = at - start if start < at else len(joined.tokens) - start
            assert starts.agreed[start] == min(kept.agreed[start], most)
            for signal, known in starts.signals.items():
                assert (known[start] == kept.signals[signal][start]).all()
    rounds = []
    plans = [min(gamma, recording.header.longest) for gamma in script]
    Simulator(recording.header, ScriptedPolicy(plans), on_round=rounds.append).play(joined)
    assert sum(done.emitted for done in rounds) == len(joined.tokens)
    assert [done.context for done in rounds] == [first.prompt_tokens + done.position for done in rounds]
