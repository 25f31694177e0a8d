"""No policy, replayed on any recording, takes less than the optimum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_recordings import lab_recordings

from paceline.core.plugins.catalogue import Catalogue
from paceline.core.testing.doubles import ChaoticPolicy
from paceline.lab.oracle.optimum import clairvoyant, expectation
from paceline.lab.replay.simulator import Simulator
from paceline.lab.replay.static_gamma import static_gammas, sweep
from paceline.lab.replay.texts import runs

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


@settings(deadline=None)
@given(lab_recordings())
def test_no_static_gamma_beats_the_optimum(recording):
    for text, totals in zip(recording, sweep(recording.header, recording), strict=True):
        least = clairvoyant(text, recording.header).seconds
        assert all(each.seconds >= least * (1 - 1e-9) for each in totals)


@settings(deadline=None, max_examples=30)
@given(lab_recordings(sampled=True, drafts=["model"], most_tokens=5, texts=1))
def test_no_static_gamma_beats_the_optimum_in_expectation_on_average(recording):
    """On average over all patterns of accepted tokens, each with its probability."""
    header, (text,) = recording.header, recording
    starts, count = text.drafts["model"], len(text.tokens)
    chance, sums = starts.acceptance_probs.astype(float), dict.fromkeys(static_gammas(header), 0.0)
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
