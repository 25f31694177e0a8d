import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.errors import TraceError
from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.regret.hindsight import hindsight
from paceline.lab.replay.choosing import build, choose
from paceline.lab.replay.passes import Key, Stage, Task
from paceline.lab.replay.planning import Settings, tasks
from paceline.lab.replay.store import StoreWriter, key_of, read_replay, read_store
from paceline.lab.replay.summary import summarise
from paceline.lab.simulate import Simulator
from paceline.lab.synthetic import Cell
from paceline.lab.testing import lab_recordings
from paceline.lab.workloads.synthetic import made_up

CATALOGUE = Catalogue.load()
RECORDING = made_up(Cell(0.12, "regimes"), texts=4, tokens=60)
ABOUT = {"path": "r.jsonl", "sha256": "0" * 64}


def played(names, **settings_):
    chosen = choose(RECORDING.header, CATALOGUE, names)
    stage = Stage(RECORDING, CATALOGUE)
    done = [stage.run(task) for task in tasks(chosen, Settings(**settings_))]
    return chosen, [one for each in done for one in each.passes]


@pytest.mark.parametrize("name", sorted({*CATALOGUE.policies}))
def test_the_block_of_every_policy_builds_it_in_another_process(name):
    config = CATALOGUE.policies[name].config()
    assert build(json.loads(json.dumps(config.model_dump(mode="json"))), CATALOGUE) == config


def test_a_warm_policy_goes_on_and_a_cold_one_begins_anew_with_each_text():
    _, passes = played(["ucb"], orders=("recorded",), seeds=1)
    found = {(one.label, one.start): one for one in passes}
    config, header = CATALOGUE.policies["ucb"].config(), RECORDING.header
    player = Simulator(header, config.build(0))
    warm = [player.play(text) for text in RECORDING]
    cold = [Simulator(header, config.build(0)).play(text) for text in RECORDING]
    assert found["ucb", "warm"].outcomes == warm
    assert found["ucb", "cold"].outcomes == cold
    assert warm != cold


def test_static_choices_are_swept_to_what_the_simulator_finds_in_every_order():
    stage = Stage(RECORDING, CATALOGUE)
    chosen = choose(RECORDING.header, CATALOGUE, ["static-2"])
    for order in ("recorded", "shuffled", "by-kind"):
        (swept,) = [
            one
            for one in stage.run(Task(chosen.policies, chosen.static, order, "warm", 3)).passes
            if one.label == "static-2"
        ]
        block = {"static-2": chosen.policies["static-2"]}
        (plain,) = stage.run(Task(block, {}, order, "warm", 3)).passes
        assert [one.text for one in swept.outcomes] == [one.text for one in plain.outcomes]
        for one, other in zip(swept.outcomes, plain.outcomes, strict=True):
            assert replace(one, seconds=0, draft_s=0, verify_s=0) == replace(
                other, seconds=0, draft_s=0, verify_s=0
            )
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
        (one,) = stage.run(Task(block, {}, order, "warm", seed, draw=2)).passes
        found.append(sorted((outcome.text, outcome.accepted) for outcome in one.outcomes))
    assert found[0] == found[1]


def test_the_summary_holds_each_policy_to_plain_decoding_and_to_the_best_static_choice():
    _, passes = played(["static-1", "static-3", "online"], orders=("recorded",), starts=("warm",), seeds=2)
    from paceline.lab.replay.results import Replay

    (table,) = summarise(
        Replay(ABOUT, passes, {}), hindsight(RECORDING), {text.name: 1.0 for text in RECORDING}
    )
    rows = {row.label: row for row in table.rows}
    assert [row.rate for row in table.rows] == sorted((row.rate for row in table.rows), reverse=True)
    assert (rows["static-0"].over_plain, rows["static-0"].captured, rows["static-0"].accepted_tokens) == (
        1,
        0,
        1,
    )
    every = [
        static
        for static in played(["all"], orders=("recorded",), starts=("warm",), seeds=1)[1]
        if static.policy["name"] == "static"
    ]
    best = min(every, key=lambda one: sum(outcome.seconds for outcome in one.outcomes))
    assert table.best_static == best.label
    if best.label in rows:
        assert rows[best.label].over_static == pytest.approx(1.0)
    seconds = sum(one.seconds for each in passes if each.label == "online" for one in each.outcomes)
    assert rows["online"].rate == pytest.approx(2 * 240 / seconds)


def stored(path, passes):
    with StoreWriter(path, ABOUT) as writer:
        writer.asked([key_of(one) for one in passes], {"svip": "no signals"})
        for one in passes:
            writer.add(one)
        writer.end()
    return path


def test_passes_come_back_from_a_file_as_they_were(tmp_path):
    _, passes = played(["online", "static-2"], seeds=1)
    found = read_replay(stored(tmp_path / "replay.jsonl", passes))
    assert list(found.passes) == passes
    assert (found.recording, found.left_out, found.complete) == (ABOUT, {"svip": "no signals"}, True)


def test_only_what_was_asked_for_last_is_shown(tmp_path):
    _, passes = played(["online", "static-2"], seeds=1)
    path = stored(tmp_path / "replay.jsonl", passes)
    with StoreWriter(path, ABOUT, size=read_store(path).size) as writer:
        writer.asked([key_of(passes[0]), Key("later", "recorded", "cold", 9, None)], {})
    found = read_replay(path)
    assert list(found.passes) == passes[:1]
    assert not found.complete


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [], "the replay is empty"),
        (
            lambda lines: ['{"kind":"trace","version":1}', *lines[1:]],
            r":1: this is no replay; `paceline replay`",
        ),
        (
            lambda lines: [lines[0].replace('"version":2', '"version":7', 1), *lines[1:]],
            ":1: replay version 7",
        ),
        (lambda lines: [*lines[:2], "{", *lines[3:]], ":3: this line is damaged"),
        (lambda lines: [*lines[:2], '{"kind":"pass"}', *lines[3:]], ":3: this line is damaged"),
    ],
)
def test_damaged_files_are_told_with_the_line(tmp_path, damage, message):
    path = stored(tmp_path / "replay.jsonl", played(["static-2"], seeds=1)[1])
    lines = damage(path.read_text().splitlines())
    path.write_text("".join(line + "\n" for line in lines))
    with pytest.raises(TraceError, match=message):
        read_replay(path)


def test_a_last_line_that_was_cut_off_costs_that_line_only(tmp_path):
    _, passes = played(["static-2"], seeds=1)
    path = stored(tmp_path / "replay.jsonl", passes)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b'{"kind":"pass"') + 40])
    found = read_replay(path)
    assert not found.complete
    assert list(found.passes) == passes[:-1]


def test_no_byte_of_a_replay_changes_without_notice(tmp_path):
    path = stored(tmp_path / "replay.jsonl", played(["static-2"], seeds=1)[1][:1])
    whole, data = read_replay(path), path.read_bytes()
    for place in range(0, len(data), 3):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        try:
            found = read_replay(path)
        except TraceError as error:
            assert str(path) in str(error)  # noqa: PT017 - either is right
        else:
            assert not found.complete
            assert found.recording == whole.recording
            assert set(map(str, found.passes)) <= set(map(str, whole.passes))
