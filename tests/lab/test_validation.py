"""Replays are held against what was measured, and say so when they miss."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_recordings import lab_recordings

from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.recording.model import Measured
from paceline.lab.replay.simulator import Simulator
from paceline.lab.validation import validate
from paceline.lab.workloads.synthetic import cells, made_up
from paceline.policies.static import StaticConfig
from paceline.policies.thompson import ThompsonConfig

CATALOGUE = Catalogue.load()


def measured(recording, config, *, slower=1.0, seed=0, part=0, order=None):
    """Return what the clock would say if replays were right but for a factor."""
    player = Simulator(recording.header, config.build(seed))
    names = order or recording.texts.names()
    played = {name: player.play(recording.texts[name]) for name in names}
    block = config.model_dump(mode="json")
    return [
        Measured(block, name, one.emitted, one.rounds, one.seconds * slower, part)
        for name, one in played.items()
    ]


def cell(*runs, run=None, texts=4, name="regimes-0.12"):
    recording = made_up(*cells(name), texts=texts, tokens=80)
    header = replace(recording.header, run=run or {})
    recording = replace(recording, header=header)
    return replace(recording, measured=[one for run in runs for one in run(recording)])


@settings(deadline=None, max_examples=30)
@given(lab_recordings(), st.floats(0.5, 2.0), st.integers(0, 5))
def test_the_error_is_the_ratio_of_the_seconds(recording, slower, gamma):
    runs = measured(recording, StaticConfig(gamma=min(gamma, recording.header.longest)), slower=slower)
    found = validate(replace(recording, measured=runs), CATALOGUE)
    (one,) = found
    assert one.error == pytest.approx(slower - 1.0)


def test_an_adaptive_policy_goes_on_from_text_to_text_in_the_order_it_was_measured():
    backwards = ["regimes/3", "regimes/1", "regimes/0", "regimes/2"]
    config = ThompsonConfig(max_gamma=10)
    run = {"config": {"generation": {"seed": 7}}}
    recording = cell(lambda one: measured(one, config, seed=7, order=backwards), run=run)
    (found,) = validate(recording, CATALOGUE)
    assert found.error == pytest.approx(0.0)
    assert (found.texts, found.tokens) == (4, 320)

    for wrong in ({"seed": 8}, {"seed": 7, "order": sorted(backwards)}):
        other = cell(lambda one, wrong=wrong: measured(one, config, **wrong), run=run)
        mixed = [next(two for two in other.measured if two.text == name) for name in backwards]
        (found,) = validate(replace(other, measured=mixed), CATALOGUE)
        assert found.error != pytest.approx(0.0, abs=1e-6)


def test_policies_begin_anew_in_each_part_of_the_recording():
    config, names = ThompsonConfig(max_gamma=10), [f"regimes/{number}" for number in range(4)]

    def runs(recording):
        return [
            *measured(recording, config, order=names[:2], part=0),
            *measured(recording, config, order=names[2:], part=1),
        ]

    (found,) = validate(cell(runs), CATALOGUE)
    assert found.error == pytest.approx(0.0)


def test_each_policy_that_was_measured_is_held_against_its_own_time():
    recording = cell(
        lambda one: measured(one, StaticConfig(gamma=1), slower=1.01),
        lambda one: measured(one, StaticConfig(gamma=3), slower=0.98),
        lambda one: measured(one, ThompsonConfig(), slower=0.9),
    )
    found = {one.label: one.error for one in validate(recording, CATALOGUE)}
    assert found == pytest.approx({"static-1": 0.01, "static-3": -0.02, "thompson": -0.1})


def test_what_cannot_be_replayed_is_left_out():
    gone = Measured({"name": "gone"}, "regimes/0", 80, 80, 80.0)
    later = Measured({"name": "static", "gamma": 1}, "a text that was not finished", 80, 80, 80.0)
    assert validate(replace(cell(), measured=[gone, later]), CATALOGUE) == []
