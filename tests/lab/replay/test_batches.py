"""Texts that are replayed at once take the rounds that they take alone, and share the seconds of their passes."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_recordings import lab_recordings

from paceline.core.errors import ConfigError, TraceError
from paceline.core.testing.doubles import ScriptedPolicy
from paceline.lab.recording.latency import PassTimes
from paceline.lab.recording.model import Recording, TextsInMemory
from paceline.lab.replay import simulator as simulating
from paceline.lab.replay.run import Settings, replay_policies
from paceline.lab.replay.simulator import Simulator
from paceline.lab.replay.tables import ReplayText
from paceline.lab.workloads.synthetic import cells, made_up

MODELS = st.lists(st.sampled_from(["model", "other", "lookup"]), min_size=1, max_size=3, unique=True)


def with_batches(recording, rows, *, plain_s=1.5, token_s=0.25):
    """Return a recording whose passes were timed for so many requests, and whose costs stay as they are."""
    header = recording.header
    steps = {name: (0.0 if name == "lookup" else 0.5, 0.125) for name in header.drafts}
    verify = {0: plain_s, 64: plain_s + 64 * token_s}
    costs = replace(header.costs, batches={rows: PassTimes(verify, steps)}, overhead_s=0.0)
    texts = [replace(text, changes=None) for text in recording]
    return Recording(replace(header, costs=costs), (), TextsInMemory(texts))


def accepting(*, tokens, texts):
    """Return a recording of texts in which a draft is right most of the time."""
    (cell,) = cells("steady-0.8-0.04")
    return made_up(cell, tokens=tokens, texts=texts)


def counts(totals):
    return (totals.rounds, totals.drafted, totals.accepted, totals.emitted, totals.reached, totals.agreed)


def played(recording, gammas, rows, monkeypatch=None):
    """Return the sums of all texts, and the virtual seconds that passed."""
    clocks = []

    class Kept(simulating.BatchClock):
        def __init__(self, profile):
            super().__init__(profile)
            clocks.append(self)

    texts = [ReplayText.of(text, recording.header) for text in recording]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulating, "BatchClock", Kept)
        totals = Simulator(recording.header, ScriptedPolicy(gammas)).play_together(texts, rows)
    return totals, clocks[0].now()


@settings(deadline=None)
@given(MODELS.flatmap(lambda names: lab_recordings(drafts=names, sampled=False, texts=5)), st.data())
def test_texts_at_once_take_the_rounds_that_they_take_alone_and_their_seconds_add_up(recording, data):
    rows = data.draw(st.integers(2, 6))
    gamma = data.draw(st.integers(0, recording.header.longest))
    recording = with_batches(recording, rows)
    totals, elapsed = played(recording, [gamma], rows)
    alone = Simulator(recording.header, ScriptedPolicy([gamma]))
    assert [*map(counts, totals)] == [counts(alone.play(text)) for text in recording]
    assert sum(each.seconds for each in totals) == pytest.approx(elapsed)
    assert all(each.seconds >= 0.0 for each in totals)  # a profile may say that a pass takes nothing


@settings(deadline=None, max_examples=30)
@given(MODELS.flatmap(lambda names: lab_recordings(drafts=names, sampled=False)))
def test_one_text_at_a_time_takes_what_it_takes_alone(recording):
    recording = with_batches(recording, 2)
    gamma = min(2, recording.header.longest)
    totals, _ = played(recording, [gamma], 1)
    alone = Simulator(recording.header, ScriptedPolicy([gamma]))
    for each, text in zip(totals, recording, strict=True):
        expected = alone.play(text)
        assert counts(each) == counts(expected)
        assert each.seconds == pytest.approx(expected.seconds)


@given(lab_recordings(drafts=["model"], sampled=False, texts=1))
def test_passes_of_fewer_than_were_timed_lie_between_one_and_those(recording):
    profile = with_batches(recording, 4, plain_s=9.0).header.costs
    alone = profile.verify_s(1, profile.context) - profile.context_s * profile.context
    assert profile.pass_s(4, 0, 0) == pytest.approx(9.0)
    assert profile.pass_s(1, 0, 0) == pytest.approx(max(0.0, alone))
    assert profile.pass_s(2, 0, 0) == pytest.approx(max(0.0, alone) + (9.0 - max(0.0, alone)) / 3)
    assert type(profile).from_json(profile.to_json()) == profile


@pytest.mark.parametrize(("token_s", "drafts"), [(0.0, True), (2.0, False)])
def test_a_policy_that_learns_drafts_where_a_further_token_in_the_shared_pass_pays(token_s, drafts):
    recording = with_batches(accepting(tokens=60, texts=8), 4, plain_s=4.0, token_s=token_s)
    results = replay_policies(recording, ["auto"], batch=4)
    (measured,) = (results.where(policy=name) for name in ["auto"])
    gammas = sum(each.totals.drafted for each in measured) / sum(each.totals.rounds for each in measured)
    assert (gammas > 1.0) == drafts
    plain, auto = (sum(each.seconds for each in results.where(policy=name)) for name in ("static-0", "auto"))
    assert auto < plain if drafts else auto < 1.6 * plain


def test_more_at_once_than_were_timed_are_refused():
    recording = accepting(tokens=8, texts=3)
    with pytest.raises(TraceError, match=r"passes of one at once, and not of 3; .*record --batch 3"):
        replay_policies(recording, ["static-1"], batch=3)
    with pytest.raises(TraceError, match="passes of 2 at once, and not of 3"):
        replay_policies(with_batches(recording, 2), ["static-1"], batch=3)


def test_texts_at_once_cannot_be_started_cold():
    with pytest.raises(ConfigError, match="start them warm"):
        Settings(batch=2)
