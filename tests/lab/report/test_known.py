"""What a recording adds, worked out from one in memory and a replay of it by the simulator."""

import random
from types import SimpleNamespace

import numpy as np
import pytest

from paceline.lab.oracle.optimum import clairvoyant
from paceline.lab.recording.latency import DraftTimes, LatencyProfile
from paceline.lab.recording.memory import TextsInMemory
from paceline.lab.recording.model import DraftInfo, Header, Recording, Starts, Text
from paceline.lab.replay.results import Pass, Replay
from paceline.lab.report.gather import gather, main_field
from paceline.lab.report.known import known
from paceline.lab.report.page import page
from paceline.lab.report.pictures.all import pictures
from paceline.lab.report.plays import play_again
from paceline.lab.report.rounds import choose

LONGEST = 6
POLICIES = {
    **{f"static-{gamma}": {"name": "static", "gamma": gamma} for gamma in range(LONGEST + 1)},
    "auto": {"name": "auto"},
    "survival": {"name": "survival"},
}


def text(number, tokens=80):
    draw = random.Random(number)
    bits = [draw.random() < (0.9, 0.4)[number % 2] for _ in range(tokens)]
    ahead = [0] * (tokens + 1)
    for place in reversed(range(tokens)):
        ahead[place] = ahead[place + 1] + 1 if bits[place] else 0
    agreed = np.array([min(one, LONGEST) for one in ahead[:tokens]], dtype=np.int16)
    starts = Starts(np.full(tokens, LONGEST, dtype=np.int16), agreed)
    kind = ("code", "prose")[number % 2]
    return Text(f"{kind}/{number}", kind, "0" * 64, 10, None, tokens, list(range(tokens)), "length", True, None,
                {"small": starts})  # fmt: skip


def recorded(texts=8):
    profile = LatencyProfile(
        {1: 0.010, 7: 0.012},
        64,
        0.0,
        {"small": DraftTimes({1: 0.001, 6: 0.006}, {1: 0.0, 20: 0.001})},
        0.0001,
    )
    header = Header(
        {"machine": {"cpu": "Example CPU", "gpus": []}, "versions": {"python": "3.12"}}, LONGEST, "greedy",
        {"small": DraftInfo(caches=True, short=1, signals=frozenset(), match_lengths=False, scores=False)}, profile,
    )  # fmt: skip
    return Recording(header, [], TextsInMemory([text(number) for number in range(texts)]))


def replayed(recording, policies=POLICIES, start="warm"):
    names = [*recording.texts.names()]
    passes = [
        Pass(label, block, "recorded", start, 0, [*play_again(recording, block, names, start=start, seed=0)])
        for label, block in policies.items()
    ]
    return Replay({}, passes, {})


@pytest.fixture(scope="module")
def pair():
    recording = recorded()
    return SimpleNamespace(recording=recording, replay=replayed(recording))


@pytest.fixture(scope="module")
def about(pair):
    return known(pair.recording, source={"recording": "recording.jsonl"})


def test_the_oracle_is_that_of_the_lab_and_nobody_beats_it(pair, about):
    for one in pair.recording:
        assert about.oracle[one.name] == clairvoyant(one, pair.recording.header).seconds
    for one in pair.replay.passes:
        for outcome in one.outcomes:
            assert outcome.seconds >= about.oracle[outcome.text] * (1 - 1e-9)


def test_acceptance_by_place_counts_every_start(pair, about):
    found = about.positions[0]
    agreed = np.concatenate([one.drafts["small"].agreed for one in pair.recording])

    assert found.draft == "small"
    assert found.reached[0] == len(agreed)
    assert found.agreed == [int((agreed > place).sum()) for place in range(LONGEST)]
    # Beyond the first place fewer are tried than were agreed before, since texts end.
    assert all(tried <= before for tried, before in zip(found.reached[1:], found.agreed, strict=False))


def test_the_rounds_shown_are_those_that_the_pass_took(pair, about):
    field = main_field(pair.replay)
    shown = about.timelines(field, "survival", about.oracle)

    assert len(shown) == 3
    for one in shown:
        outcome = next(o for o in field.players["survival"].outcomes if o.text == one.text)
        assert len(one.policy) == outcome.rounds
        assert sum(step.accepted for step in one.policy) == outcome.accepted
        assert (
            sum(step.emitted for step in one.policy)
            == sum(step.emitted for step in one.oracle)
            == outcome.tokens
        )
        assert one.slower == pytest.approx(outcome.seconds / about.oracle[one.text])


def test_a_cold_pass_is_played_again_cold(pair):
    cold = replayed(pair.recording, start="cold")
    field = main_field(cold)
    about = known(pair.recording, source={})

    for one in about.timelines(field, "auto", about.oracle):
        outcome = next(o for o in field.players["auto"].outcomes if o.text == one.text)
        assert len(one.policy) == outcome.rounds


def test_the_texts_shown_are_the_nearest_the_median_and_the_farthest():
    slower = {"a": 1.5, "b": 1.1, "c": 1.9, "d": 1.3, "e": 1.2}

    assert [*choose(slower)] == ["b", "d", "c"]
    assert [*choose({"a": 1.0})] == ["a"]
    assert choose({}) == {}


def test_machine_and_versions_are_told_without_what_is_empty(about):
    assert about.machine == {"machine.cpu": "Example CPU", "versions.python": "3.12"}


def test_everything_together_makes_a_page(pair, about):
    found = gather(pair.replay, about)
    html = page(found, pictures(found))

    assert "Example CPU" in html
    assert found.oracle >= max(row.speedup.value for row in found.rows)
