"""No policy, replayed on any recording, takes less than the optimum."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.plugins.catalogue import Catalogue
from paceline.core.testing.doubles import ChaoticPolicy
from paceline.lab.oracle.optimum import clairvoyant
from paceline.lab.simulate import Simulator
from paceline.lab.testing import lab_recordings

SIGNALS = {
    "model": frozenset({"top1"}),
    "head": frozenset({"prob", "entropy"}),
    "lookup": frozenset({"token"}),
}


@settings(deadline=None)
@given(lab_recordings(sampled=False), st.integers(0, 1 << 16), st.booleans())
def test_policies_of_pure_chance_never_beat_the_optimum(recording, seed, listens):
    names = list(recording.header.drafts)
    signals = SIGNALS.get(names[0], frozenset()) if listens and len(names) == 1 else frozenset()
    policy = ChaoticPolicy(seed, names, signals=signals, max_gamma=recording.header.longest)
    player = Simulator(recording.header, policy)
    for text in recording:
        taken = player.play(text).seconds
        assert taken >= clairvoyant(text, recording.header).seconds * (1 - 1e-9)


def never_beats(name, recording):
    config = Catalogue.load().policies[name].config.model_validate({"name": name})
    player = Simulator(recording.header, config.build(0))
    for text in recording:
        taken = player.play(text).seconds
        assert taken >= clairvoyant(text, recording.header).seconds * (1 - 1e-9)


@settings(deadline=None, max_examples=5)
@given(lab_recordings(sampled=False, drafts=["model"], most_tokens=40, texts=2))
@pytest.mark.parametrize("name", ["auto", "survival", "online", "thompson", "aimd", "static", "ucb", "gate"])
def test_installed_policies_never_beat_the_optimum(name, recording):
    never_beats(name, recording)


@settings(deadline=None, max_examples=5)
@given(lab_recordings(sampled=False, drafts=["head"], most_tokens=40, texts=2))
@pytest.mark.parametrize("name", ["confidence", "svip", "ev-stop"])
def test_policies_that_stop_drafting_never_beat_the_optimum(name, recording):
    never_beats(name, recording)
