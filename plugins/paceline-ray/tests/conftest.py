"""A policy that counts, a clock set by hand, and a run of toys."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import pytest

from paceline import StateKey, load_config

RUN = {
    "target": {"backend": "toy", "seed": 7},
    "drafts": {"small": {"backend": "toy", "agreement": 0.8}},
    "policy": {"name": "static", "gamma": 3},
    "generation": {"max_new_tokens": 40},
}


class Counting:
    """A shareable policy that counts whatever it is shown."""

    timed = False

    def __init__(self):
        self.known = {}

    def learn(self, name, amount=1.0):
        self.known[name] = self.known.get(name, 0.0) + amount

    def export(self):
        return {name: value for name, value in self.known.items() if value}

    def absorb(self, statistics):
        raise AssertionError("nobody asks for this")

    def replace(self, statistics):
        if any(value < 0 for value in statistics.values()):
            raise ValueError("less than nothing")
        self.known = dict(statistics)

    def state_dict(self):
        return {"policy": "counting"}


@pytest.fixture
def counting():
    return Counting


@pytest.fixture
def subject():
    return StateKey("counting-1", {"policy": "counting"})


@pytest.fixture
def clock():
    found = SimpleNamespace(time=1000.0)
    found.now = lambda: found.time
    return found


@pytest.fixture
def lock():
    return threading.RLock()


@pytest.fixture
def run():
    return json.loads(json.dumps(RUN))


@pytest.fixture
def plain(run):
    """The decoder that the engine has, for itself."""
    return load_config(run).build(interleaved=True)
