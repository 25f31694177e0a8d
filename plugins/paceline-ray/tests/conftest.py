"""A policy that counts, and a clock that is set by hand."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from paceline_ray.messages import Subject


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
        for name, value in statistics.items():
            self.learn(name, value)

    def replace(self, statistics):
        if any(value < 0 for value in statistics.values()):
            raise ValueError("less than nothing")
        self.known = dict(statistics)


@pytest.fixture
def counting():
    return Counting


@pytest.fixture
def subject():
    return Subject("counting-1", {"policy": "counting"})


@pytest.fixture
def clock():
    found = SimpleNamespace(time=1000.0)
    found.now = lambda: found.time
    return found


@pytest.fixture
def lock():
    return threading.RLock()
