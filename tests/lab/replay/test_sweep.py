import pytest
from hypothesis import given, settings

from paceline.lab.replay import sweep as module
from paceline.lab.replay.sweep import Choice, choices, sweep
from paceline.lab.simulate import Simulator
from paceline.lab.testing import lab_recordings
from paceline.policies.static import StaticConfig


def played(recording, text, choice):
    policy = StaticConfig(gamma=choice.gamma, draft=choice.draft).build()
    return Simulator(recording.header, policy).play(text)


def check(recording):
    asked = choices(recording.header)
    for text, found in zip(recording, sweep(recording.header, recording), strict=True):
        for choice, totals in zip(asked, found, strict=True):
            wanted = played(recording, text, choice)
            exact = ("gammas", "drafts", "reached", "agreed", "rounds", "emitted")
            for key in exact:
                assert getattr(totals, key) == getattr(wanted, key), (choice, key)
            for key in ("seconds", "draft_s", "verify_s", "drafted", "accepted"):
                assert getattr(totals, key) == pytest.approx(getattr(wanted, key), rel=1e-9, abs=1e-12)


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
def test_choices_are_plain_decoding_and_each_draft_with_each_gamma(recording):
    found = choices(recording.header)
    assert found[0] == Choice(0)
    assert len(found) == len(set(found)) == 1 + 2 * recording.header.longest
