"""Whatever happens to reports, answers, replicas and the hub: nothing acknowledged is lost, nothing counts twice.

A world of replicas, a hub and a network that loses, doubles, delays and reorders, played by hypothesis.
"""

from __future__ import annotations

import math
import tempfile
import threading
from types import SimpleNamespace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from paceline import StateKey
from paceline_ray.hub import Hub
from paceline_ray.sync import DeltaTracker

SUBJECTS = {"a": StateKey("one", {"n": 1}), "b": StateKey("one", {"n": 1}), "c": StateKey("two", {"n": 2})}
HALF_LIFE = 10.0
places = st.integers(0, 10**6)
names = st.sampled_from(["x", "y"])
replicas = st.sampled_from(sorted(SUBJECTS))


class Counts:
    """A shareable policy that counts."""

    timed = False

    def __init__(self):
        self.known = {}

    def learn(self, name):
        self.known[name] = self.known.get(name, 0.0) + 1.0

    def export(self):
        return {name: value for name, value in self.known.items() if value}

    def absorb(self, statistics):
        raise AssertionError("nobody asks for this")

    def replace(self, statistics):
        assert all(value >= 0.0 for value in statistics.values())
        self.known = dict(statistics)


class World(RuleBasedStateMachine):
    """Replicas and hub without forgetting; every number is whole, so that sums are exact."""

    half_life_s: float | None = None
    keeps_files = True

    @initialize()
    def begin(self):
        self.clock = SimpleNamespace(time=1000.0)
        self.folder = tempfile.TemporaryDirectory() if self.keeps_files else None
        self.new_hub()
        self.lives = 0
        self.replicas = {}
        self.epochs = {}
        self.waiting = []  # reports on their way to the hub
        self.answers = []  # (epoch, report, answer) on their way back
        self.learnt = {}  # epoch -> everything learnt there: what the replica's own counters say
        self.sent = {}  # (epoch, sequence) -> what had been learnt when it was reported
        self.acknowledged = {}  # epoch -> the highest sequence number the hub has answered
        for name in SUBJECTS:
            self.start(name)

    def teardown(self):
        if getattr(self, "folder", None):
            self.folder.cleanup()

    def new_hub(self):
        folder = self.folder.name if self.folder else None
        self.hub = Hub(half_life_s=self.half_life_s, folder=folder, now=lambda: self.clock.time)

    def start(self, name):
        self.lives += 1
        epoch = f"life {self.lives}"
        policy = Counts()
        tracker = DeltaTracker(
            name, epoch, policy, threading.Lock(), SUBJECTS[name], now=lambda: self.clock.time
        )
        self.replicas[name] = SimpleNamespace(epoch=epoch, policy=policy, tracker=tracker)
        self.epochs[epoch] = name
        self.learnt[epoch] = {}

    @rule(who=replicas, name=names)
    def learns(self, who, name):
        one = self.replicas[who]
        one.policy.learn(name)
        own = self.learnt[one.epoch]
        own[name] = own.get(name, 0.0) + 1.0

    @rule(who=replicas)
    def reports(self, who):
        one = self.replicas[who]
        report = one.tracker.report()
        assert report.totals == self.learnt[one.epoch]
        self.sent[one.epoch, report.sequence] = dict(self.learnt[one.epoch])
        self.waiting.append(report)

    @rule(place=places)
    def arrives_and_may_arrive_again(self, place):
        if self.waiting:
            report = self.waiting[place % len(self.waiting)]
            answer = self.hub.exchange(report)
            assert answer.sequence >= report.sequence
            known = self.acknowledged.get(report.epoch, 0)
            self.acknowledged[report.epoch] = max(known, answer.sequence)
            self.answers.append((report, answer))

    @rule(place=places)
    def report_is_lost(self, place):
        if self.waiting:
            self.waiting.pop(place % len(self.waiting))

    @rule(place=places)
    def answer_arrives_and_may_arrive_again(self, place):
        if self.answers:
            report, answer = self.answers[place % len(self.answers)]
            one = self.replicas[report.replica]
            if one.epoch == report.epoch:
                one.tracker.take(report, answer)

    @rule(who=replicas)
    def exchanges_undisturbed(self, who):
        self.reports(who)
        self.arrives_and_may_arrive_again(len(self.waiting) - 1)
        report, answer = self.answers[-1]
        one = self.replicas[who]
        one.tracker.take(report, answer)
        if answer.sequence == report.sequence:
            assert one.policy.export() == self.expected(SUBJECTS[who].name)

    @rule(who=replicas)
    def replica_is_killed_and_starts_again(self, who):
        self.start(who)

    @rule()
    def hub_is_killed_and_starts_again(self):
        self.new_hub()

    def expected(self, key):
        """Return what all replicas had learnt in the reports that the hub has answered."""
        total = {}
        for epoch, sequence in self.acknowledged.items():
            if SUBJECTS[self.epochs[epoch]].name == key:
                for name, value in self.sent[epoch, sequence].items():
                    total[name] = total.get(name, 0.0) + value
        return total

    @invariant()
    def hub_knows_what_it_acknowledged(self):
        for key in ("one", "two"):
            assert self.hub.pool(key) == self.expected(key)


class Forgetting(World):
    """The same with a hub that forgets, against a sum over single reports worked out anew each time."""

    half_life_s = HALF_LIFE

    @initialize()
    def begin(self):
        self.arrived = []  # (key, name, amount, time) of everything that was news to the hub
        self.heard = {}  # epoch -> what the hub has been told
        super().begin()

    @rule(seconds=st.floats(0.0, 30.0))
    def time_passes(self, seconds):
        self.clock.time += seconds

    def arrives_and_may_arrive_again(self, place):
        if not self.waiting:
            return
        report = self.waiting[place % len(self.waiting)]
        if report.sequence > self.acknowledged.get(report.epoch, 0):
            before = self.heard.get(report.epoch, {})
            now = self.sent[report.epoch, report.sequence]
            for name, value in now.items():
                gained = value - before.get(name, 0.0)
                self.arrived.append((report.subject.name, name, gained, self.clock.time))
            self.heard[report.epoch] = now
        super().arrives_and_may_arrive_again(place)

    @rule(place=places)
    def one_arrives(self, place):
        self.arrives_and_may_arrive_again(place)

    @rule(who=replicas)
    def exchanges_undisturbed(self, who):
        self.reports(who)
        self.arrives_and_may_arrive_again(len(self.waiting) - 1)
        report, answer = self.answers[-1]
        one = self.replicas[who]
        one.tracker.take(report, answer)
        self.same(one.policy.export(), self.expected(SUBJECTS[who].name))

    def expected(self, key):
        total = {}
        for subject, name, amount, time in self.arrived:
            if subject == key:
                total[name] = total.get(name, 0.0) + amount * 2.0 ** ((time - self.clock.time) / HALF_LIFE)
        return total

    @invariant()
    def hub_knows_what_it_acknowledged(self):
        for key in ("one", "two"):
            self.same(self.hub.pool(key), self.expected(key))

    @staticmethod
    def same(found, expected):
        for name in found.keys() | expected.keys():
            one, other = found.get(name, 0.0), expected.get(name, 0.0)
            assert math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-6), (found, expected)


TestWorld = World.TestCase
TestForgetting = Forgetting.TestCase
TestWorld.settings = settings(deadline=None, max_examples=50, stateful_step_count=40)
TestForgetting.settings = TestWorld.settings
