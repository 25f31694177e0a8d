"""The hub and its files: what was acknowledged outlives a process, and nothing is dropped that still counts."""

import json
import shutil

import pytest
from structlog.testing import capture_logs

from paceline import PacelineError, StateKey, StateStore
from paceline_ray.hub import FILE, Hub, read_accounts
from paceline_ray.messages import Account, Report
from paceline_ray.sync import DeltaTracker


@pytest.fixture
def replica(counting, subject, clock, lock):
    def make(name="a", epoch="1", **options):
        policy = counting()
        return policy, DeltaTracker(name, epoch, policy, lock, subject, now=clock.now, **options)

    return make


def exchange(hub, tracker):
    report = tracker.report()
    tracker.take(report, hub.exchange(report))


def test_each_replica_knows_what_all_have_learnt(replica, clock):
    hub = Hub(now=clock.now)
    (one, first), (other, second) = replica("a"), replica("b")
    one.learn("x", 3.0)
    other.learn("x", 4.0)
    exchange(hub, first)
    exchange(hub, second)
    exchange(hub, first)
    assert one.export() == other.export() == {"x": 7.0}


def test_what_a_policy_knew_before_it_joined_is_not_its_own(replica, counting, subject, lock, clock):
    policy = counting()
    policy.learn("x", 5.0)
    tracker = DeltaTracker("a", "1", policy, lock, subject)
    assert tracker.report().totals == {}


def test_a_hub_that_lost_everything_is_told_again_with_what_was_forgotten_meanwhile(replica, clock):
    policy, tracker = replica()
    policy.learn("x", 8.0)
    exchange(Hub(half_life_s=10.0, now=clock.now), tracker)
    clock.time += 10.0
    policy.learn("x", 1.0)
    another = Hub(half_life_s=10.0, now=clock.now)
    exchange(another, tracker)
    assert policy.export()["x"] == pytest.approx(8.0 / 2 + 1.0)


def test_a_replica_that_died_is_remembered_by_a_hub_that_died_after_it(replica, clock, tmp_path):
    policy, tracker = replica()
    policy.learn("x", 8.0)
    exchange(Hub(folder=tmp_path, now=clock.now), tracker)
    newcomer, its_tracker = replica("b")
    exchange(Hub(folder=tmp_path, now=clock.now), its_tracker)
    assert newcomer.export() == {"x": 8.0}


def test_nothing_is_answered_that_could_not_be_written_down(replica, clock, tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    hub = Hub(folder=tmp_path / "file" / "hub", now=clock.now)
    policy, tracker = replica()
    policy.learn("x")
    report = tracker.report()
    with pytest.raises(PacelineError, match="file"):
        hub.exchange(report)
    assert hub.status()["subjects"] == []


def test_a_damaged_account_is_left_out_with_a_warning(replica, clock, tmp_path):
    policy, tracker = replica()
    policy.learn("x", 2.0)
    exchange(Hub(folder=tmp_path, now=clock.now), tracker)
    store = StateStore(tmp_path / FILE)
    (key,) = store.keys()
    document = store.read(key)
    store.update("0", lambda _: "{")
    store.update("1", lambda _: document | {"totals": {"x": "much"}})
    with capture_logs() as logs:
        status = Hub(folder=tmp_path, now=clock.now).status()
    assert status["subjects"][0]["pool"] == {"x": 2.0}
    assert [line["event"] for line in logs] == ["account_refused"] * 2


def test_accounts_of_0_1_which_had_a_file_each_are_known(replica, clock, tmp_path, subject):
    sums = {"totals": {"x": 2.0}, "share": {"x": 2.0}, "counts": {}}
    about = {"key": subject.name, "about": dict(subject.about)}
    document = {
        "version": 1,
        "replica": "a",
        "epoch": "1",
        "subject": about,
        "sequence": 1,
        "at": 1000.0,
        **sums,
    }
    (tmp_path / "0.json").write_text(json.dumps(document), encoding="utf-8")
    (tmp_path / "1.json").write_text("{", encoding="utf-8")
    newcomer, its_tracker = replica("b")
    with capture_logs() as logs:
        exchange(Hub(folder=tmp_path, now=clock.now), its_tracker)
    assert newcomer.export() == {"x": 2.0}
    assert [line["event"] for line in logs] == ["account_refused"]


def test_accounts_of_which_nothing_is_left_are_dropped_from_the_file(replica, clock, tmp_path):
    hub = Hub(half_life_s=10.0, folder=tmp_path, now=clock.now)
    policy, tracker = replica("old")
    policy.learn("x", 1e6)
    exchange(hub, tracker)
    clock.time += 10.0 * 41
    newcomer, its_tracker = replica("new")
    exchange(hub, its_tracker)
    assert len(StateStore(tmp_path / FILE).keys()) == 1
    exchange(hub, tracker)  # and comes back: what was forgotten stays so
    assert hub.status()["subjects"][0]["pool"].get("x", 0.0) < 1e-5


def test_statistics_of_different_subjects_never_meet(clock):
    hub = Hub(now=clock.now)
    one, other = StateKey("ucb-1", {"place": "this"}), StateKey("ucb-2", {"place": "that"})
    for place, found in ((one, 2.0), (other, 5.0)):
        answer = hub.exchange(Report("r" + place.name, "1", 1, place, {"s": found}, {}))
        assert answer.pool == {"s": found}


def test_a_hub_knows_after_a_restart_what_it_was_told_to_the_last_digit(tmp_path, clock, subject):
    report = Report("a", "1", 1, subject, {"x": 0.1 + 0.2}, {"rounds": 4.0})
    hub = Hub(folder=tmp_path, now=clock.now)
    hub.exchange(report)
    account = Account(subject, 1, {"x": 0.1 + 0.2}, {"x": 0.1 + 0.2}, {"rounds": 4.0}, clock.time)
    assert read_accounts(StateStore(tmp_path / FILE)) == {("a", "1"): account}


def test_what_is_learnt_between_report_and_answer_stays_with_the_policy(replica, clock):
    hub = Hub(now=clock.now)
    policy, tracker = replica()
    policy.learn("x", 2.0)
    report = tracker.report()
    policy.learn("x", 1.0)
    tracker.take(report, hub.exchange(report))
    assert policy.export() == {"x": 3.0}
    exchange(hub, tracker)
    assert hub.status()["subjects"][0]["pool"] == policy.export() == {"x": 3.0}


def test_a_hub_that_comes_back_with_an_old_disk_is_told_what_it_had_acknowledged_since(
    replica, clock, tmp_path
):
    policy, tracker = replica()
    old, new = tmp_path / "old", tmp_path / "new"
    hub = Hub(half_life_s=10.0, folder=new, now=clock.now)
    policy.learn("x", 4.0)
    exchange(hub, tracker)
    shutil.copytree(new, old)
    policy.learn("x", 4.0)
    exchange(hub, tracker)
    clock.time += 10.0
    exchange(Hub(half_life_s=10.0, folder=old, now=clock.now), tracker)
    assert policy.export()["x"] == pytest.approx(4.0)
