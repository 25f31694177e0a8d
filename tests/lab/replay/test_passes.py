import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_recordings import lab_recordings

from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.replay.choices import build, choose
from paceline.lab.replay.passes import Stage, Task, play_pass
from paceline.lab.replay.run import Settings, tasks
from paceline.lab.replay.simulator import Simulator
from paceline.lab.results import Key, Results
from paceline.lab.workloads.synthetic import Cell, made_up

CATALOGUE = Catalogue.load()
RECORDING = made_up(Cell(0.12, "regimes"), texts=4, tokens=60)


def played(names, **settings_):
    chosen = choose(RECORDING.header, CATALOGUE, names)
    stage, results = Stage(RECORDING, CATALOGUE), Results()
    for task in tasks(chosen, Settings(**settings_)):
        for key, measured in stage.run(task).passes.items():
            results.replace(key, chosen.policies[key.policy], measured)
    return results


@pytest.mark.parametrize("name", sorted({*CATALOGUE.policies}))
def test_the_block_of_every_policy_builds_it_in_another_process(name):
    config = CATALOGUE.policies[name].config()
    assert build(json.loads(json.dumps(config.model_dump(mode="json"))), CATALOGUE) == config


def test_a_warm_policy_goes_on_and_a_cold_one_begins_anew_with_each_text():
    results = played(["ucb"], orders=("recorded",), seeds=1)
    config, header = CATALOGUE.policies["ucb"].config(), RECORDING.header
    simulator = Simulator(header, config.build(0))
    warm = [simulator.play(text) for text in RECORDING]
    cold = [Simulator(header, config.build(0)).play(text) for text in RECORDING]
    assert [one.totals for one in results.where(policy="ucb", start="warm")] == warm
    assert [one.totals for one in results.where(policy="ucb", start="cold")] == cold
    assert warm != cold


def test_static_choices_are_swept_to_what_the_simulator_finds_in_every_order():
    stage = Stage(RECORDING, CATALOGUE)
    chosen = choose(RECORDING.header, CATALOGUE, ["static-2"])
    block = {"static-2": chosen.policies["static-2"]}
    for order in ("recorded", "shuffled", "by-kind"):
        key = Key("static-2", order=order, seed=3)
        swept = stage.run(Task(chosen.policies, chosen.static, order, "warm", 3)).passes[key]
        plain = stage.run(Task(block, {}, order, "warm", 3)).passes[key]
        assert [one.text for one in swept] == [one.text for one in plain]
        for one, other in zip(swept, plain, strict=True):
            same = [replace(each.totals, seconds=0, draft_s=0, verify_s=0) for each in (one, other)]
            assert same[0] == same[1]
            assert one.seconds == pytest.approx(other.seconds)


def test_cold_policies_are_tried_in_one_order_of_the_same_texts():
    ways = Settings(orders=("shuffled", "by-kind", "switching"), starts=("warm", "cold")).ways()
    assert ways == [
        ("shuffled", "warm"),
        ("by-kind", "warm"),
        ("switching", "warm"),
        ("recorded", "cold"),
        ("switching", "cold"),
    ]


def test_all_is_everything_that_can_be_tried():
    chosen = choose(RECORDING.header, CATALOGUE)
    assert {"static-0", "survival", "auto"} <= chosen.policies.keys()
    assert "static" not in chosen.policies
    assert chosen.static.keys() == {name for name in chosen.policies if name.startswith("static-")}
    assert "svip" in chosen.left_out
    assert chosen.refused == []
    assert set(chosen.policies).isdisjoint(chosen.left_out)


@settings(deadline=None, max_examples=10)
@given(recording=lab_recordings(sampled=True, drafts=["head"]), seed=st.integers(0, 3))
def test_every_policy_and_order_meets_the_same_draws(recording, seed):
    stage = Stage(recording, CATALOGUE)
    chosen = choose(recording.header, CATALOGUE, ["static-1"])
    block = {"static-1": chosen.policies["static-1"]}
    found = []
    for order in ("recorded", "shuffled"):
        ((_, listed),) = stage.run(Task(block, {}, order, "warm", seed, draw=2)).passes.items()
        found.append(sorted((one.text, one.totals.accepted) for one in listed))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["static-2", "online"])
def test_a_pass_played_again_is_the_same(name):
    results = played([name], seeds=2)
    for key, listed in results.where(policy=name).passes.items():
        texts = [one.text for one in listed]
        again = list(play_pass(RECORDING, results.options[name], texts, key, catalogue=CATALOGUE))
        assert [replace(one.totals, draft_s=0, verify_s=0, seconds=0) for one in again] == [
            replace(one.totals, draft_s=0, verify_s=0, seconds=0) for one in listed
        ]
