"""The thread that talks to the hub: a replica never waits for it, and it never gives up."""

import threading
import time

import pytest
from structlog.testing import capture_logs

from paceline_ray.hub import Hub
from paceline_ray.sync import DeltaTracker, ForgettingError, Sync


@pytest.fixture
def policy(counting):
    return counting()


@pytest.fixture
def tracker(policy, lock, subject, clock):
    return DeltaTracker("a", "1", policy, lock, subject, now=clock.now)


def away():
    raise ConnectionError("nobody there")


def test_what_is_learnt_while_the_hub_is_away_arrives_when_it_is_back(tracker, policy):
    hub, up = Hub(), False
    sync = Sync(tracker, lambda: hub.exchange if up else away())
    with capture_logs() as logs:
        policy.learn("x", 2.0)
        assert not sync.exchange()
        policy.learn("x", 3.0)
        assert not sync.exchange()
        up = True
        assert sync.exchange()
    assert [line["event"] for line in logs] == ["hub_away", "hub_back"]
    assert hub.status()["subjects"][0]["pool"] == {"x": 5.0}


def test_a_hub_that_is_away_is_asked_more_and_more_seldom(tracker):
    sync = Sync(tracker, away, most_patient_s=5.0)
    waits = []
    for _ in range(5):
        sync.exchange()
        waits.append(sync._wait_s)
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]
    sync._connect = lambda: Hub().exchange
    sync.exchange()
    assert sync._wait_s == 1.0


def test_a_hub_that_dies_between_two_reports_is_looked_for_again(tracker, policy):
    hubs = [Hub(), Hub()]
    alive = iter(hubs)

    def connect():
        hub = next(alive)

        def exchange(report):
            if hub is hubs[0] and report.sequence > 1:
                raise TimeoutError("no answer")
            return hub.exchange(report)

        return exchange

    sync = Sync(tracker, connect)
    policy.learn("x")
    assert [sync.exchange() for _ in range(3)] == [True, False, True]
    assert hubs[1].status()["subjects"][0]["pool"] == {"x": 1.0}


def test_a_policy_that_forgets_by_itself_is_found_out_and_goes_on_alone(tracker, policy):
    sync = Sync(tracker, lambda: Hub().exchange)
    policy.learn("x", 4.0)
    assert sync.exchange()
    policy.known["x"] = 3.0
    with pytest.raises(ForgettingError, match=r"from 4 to 3 by itself.*set its discounts to 1"):
        tracker.report()
    with capture_logs() as logs:
        assert not sync.exchange()
    assert [line["event"] for line in logs] == ["sharing_ended"]
    assert policy.export() == {"x": 3.0}


def test_decoding_goes_on_while_the_hub_does_not_answer(tracker, policy, lock):
    asked, answer = threading.Event(), threading.Event()

    def exchange(_report):
        asked.set()
        answer.wait(10.0)
        raise TimeoutError

    sync = Sync(tracker, lambda: exchange)
    sync.start()
    assert asked.wait(10.0)
    assert lock.acquire(timeout=1.0)  # as each round does
    policy.learn("x")
    lock.release()
    answer.set()
    sync.close()
    assert not sync.is_alive()


def test_closing_reports_the_last_and_takes_no_longer_than_it_may(tracker, policy):
    hub = Hub()
    sync = Sync(tracker, lambda: hub.exchange, period_s=5.0)
    sync.start()
    policy.learn("x", 2.0)
    sync.close()
    assert hub.status()["subjects"][0]["pool"] == {"x": 2.0}
    free = threading.Event()
    stuck = Sync(tracker, lambda: lambda _report: free.wait(30.0))
    stuck.start()
    began = time.monotonic()
    stuck.close(0.1)
    assert time.monotonic() - began < 2.0
    free.set()
    stuck.join(30.0)  # or it would speak up when the tests are over


@pytest.mark.parametrize("period", [0.1, 6.0])
def test_a_period_out_of_range_is_refused(tracker, period):
    with pytest.raises(ValueError, match=r"0\.5 to 5\.0 seconds"):
        Sync(tracker, away, period_s=period)


def test_an_answer_that_comes_late_is_let_go(tracker, policy):
    hub = Hub()
    policy.learn("x")
    first = tracker.report()
    answer = hub.exchange(first)
    policy.learn("x")
    second = tracker.report()
    tracker.take(first, answer)
    assert policy.export() == {"x": 2.0}
    tracker.take(second, hub.exchange(second))
    assert policy.export() == {"x": 2.0}
