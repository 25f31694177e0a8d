"""A policy on the clock while other processes take its core."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from changing import starved
from changing.starved import Pass, Stretch, stretches

TOOLS = Path(__file__).resolve().parents[3] / "tools"

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")


@pytest.fixture
def children(monkeypatch):
    """Every process that is started."""
    started, popen = [], subprocess.Popen

    def start(*arguments, **named):
        started.append(popen(*arguments, **named))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    return started


class Counting:
    """Stands in for a decoder; notes on how many cores it ran, and what ran beside it."""

    def __init__(self, name, calls):
        self.name, self.calls = name, calls

    def generate(self, prompt, *, max_new_tokens):
        self.calls.append((self.name, prompt, len(os.sched_getaffinity(0))))
        return SimpleNamespace(tokens=(0,) * max_new_tokens)


def test_both_take_turns_on_one_core_and_everything_is_as_before_afterwards(children):
    calls, cores = [], os.sched_getaffinity(0)
    made = []
    for one in stretches(
        Counting("plain", calls), Counting("auto", calls), ["a", "b"], seconds=0.01, processes=2
    ):
        made.append((one.name, len(children), [child.poll() is None for child in children]))
        assert all(each.tokens == 2 * starved.TOKENS for each in one.passes)
    assert [name for name, *_ in made] == ["before", "during", "after"]
    assert [count for _, count, _ in made] == [0, 2, 2]
    assert all(child.poll() is not None for child in children)
    assert {count for *_, count in calls} == {1}
    assert [call[:2] for call in calls[:4]] == [("auto", "a"), ("plain", "a"), ("plain", "b"), ("auto", "b")]
    assert os.sched_getaffinity(0) == cores


def test_the_processes_end_when_decoding_fails(children):
    with pytest.raises(ZeroDivisionError), starved.starved(1):
        raise ZeroDivisionError
    assert [child.poll() is not None for child in children] == [True]


def test_a_stretch_is_the_sum_of_its_passes():
    stretch = Stretch("before", [Pass(10, 1.0, 0.5), Pass(30, 3.0, 1.0)])
    assert stretch.plain_rate == pytest.approx(10.0)
    assert stretch.speedup == pytest.approx(4.0 / 1.5)


@pytest.mark.slow
def test_auto_keeps_ahead_of_plain_decoding_and_comes_back():
    done = subprocess.run(
        [sys.executable, "-I", TOOLS, "changing.starved", "--seconds", "4"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = re.findall(r"^\| (before|during|after) \| (\d+) \| ([\d.]+) \|", done.stdout, re.MULTILINE)
    plain = {name: float(rate) for name, rate, _ in rows}
    speedup = {name: float(value) for name, _, value in rows}
    assert plain["during"] < 0.7 * plain["before"], "the core was not taken"
    # Others use the machine that tests run on, so that times vary by a tenth and more.
    assert min(speedup.values()) > 0.9, done.stdout
    assert speedup["after"] > 0.8 * speedup["before"], done.stdout
