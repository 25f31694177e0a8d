"""Additions of a recording, worked out from one in memory and a replay of it by the simulator."""

import random
from types import SimpleNamespace

import numpy as np
import pytest

from paceline.lab.hindsight import Hindsight
from paceline.lab.oracle.optimum import clairvoyant
from paceline.lab.recording.latency import DraftTimes, LatencyProfile
from paceline.lab.recording.model import DraftInfo, Header, Recording, Starts, Text, TextsInMemory
from paceline.lab.replay.passes import play_pass
from paceline.lab.report.build import build_report
from paceline.lab.report.page import page
from paceline.lab.report.plots import pictures
from paceline.lab.report.timelines import choose_texts
from paceline.lab.results import Key, Results

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


def replayed(recording, start="warm"):
    results = Results(options=POLICIES)
    for label, options in POLICIES.items():
        key = Key(label, start=start)
        results.append(*play_pass(recording, options, recording.texts.names(), key))
    return results


@pytest.fixture(scope="module", params=["warm", "cold"])
def pair(request):
    recording = recorded()
    results, hindsight = replayed(recording, request.param), Hindsight(recording)
    report = build_report(results, recording, hindsight, source={"recording": "recording.jsonl"})
    return SimpleNamespace(recording=recording, results=results, hindsight=hindsight, report=report)


def test_the_oracle_is_that_of_the_lab_and_nobody_beats_it(pair):
    for one in pair.recording:
        assert pair.hindsight.optimum(one.name).seconds == clairvoyant(one, pair.recording.header).seconds
    for one in pair.results:
        assert one.seconds >= pair.hindsight.optimum(one.text).seconds * (1 - 1e-9)


def test_acceptance_by_place_counts_every_start(pair):
    found = pair.report.positions[0]
    agreed = np.concatenate([one.drafts["small"].agreed for one in pair.recording])

    assert found.draft == "small"
    assert found.reached[0] == len(agreed)
    assert found.agreed == [int((agreed > place).sum()) for place in range(LONGEST)]
    # Beyond the first place fewer are tried than were agreed before, since texts end.
    assert all(tried <= before for tried, before in zip(found.reached[1:], found.agreed, strict=False))


def test_the_rounds_shown_are_those_that_the_pass_took(pair):
    shown, policy = pair.report.timelines, pair.report.timeline_policy

    assert len(shown) == 3
    for one in shown:
        measured = next(each for each in pair.results.where(policy=policy) if each.text == one.text)
        assert len(one.policy) == measured.totals.rounds
        assert sum(step.accepted for step in one.policy) == measured.totals.accepted
        assert (
            sum(step.emitted for step in one.policy)
            == sum(step.emitted for step in one.oracle)
            == measured.tokens
        )
        assert one.slower == pytest.approx(measured.seconds / pair.hindsight.optimum(one.text).seconds)


def test_the_texts_shown_are_the_nearest_the_median_and_the_farthest():
    slower = {"a": 1.5, "b": 1.1, "c": 1.9, "d": 1.3, "e": 1.2}

    assert [*choose_texts(slower)] == ["b", "d", "c"]
    assert [*choose_texts({"a": 1.0})] == ["a"]
    assert choose_texts({}) == {}


def test_machine_and_versions_are_told_without_what_is_empty(pair):
    assert pair.report.machine == {"machine.cpu": "Example CPU", "versions.python": "3.12"}


def test_everything_together_makes_a_page(pair):
    html = page(pair.report, pictures(pair.report))

    assert "Example CPU" in html
    assert pair.report.oracle >= max(row.all.speedup.value for row in pair.report.rows)
