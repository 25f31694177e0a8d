"""Many requests, one decoder: rounds take turns, and whoever leaves is let go."""

import threading
import time

import pytest

from paceline import ClosedError
from paceline.serving.scheduler import RoundRobinScheduler


@pytest.fixture
def scheduler():
    started = RoundRobinScheduler()
    yield started
    started.stop()


def wait_for(condition):
    until = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_requests_take_turns_round_by_round(scheduler, plain):
    order, over = [], []

    def listen(name):
        return lambda done: over.append(name) if done is None else order.append(name)

    for name in ("a", "b"):
        scheduler.submit(lambda: plain.rounds("the rain", max_new_tokens=9), listen(name))
    wait_for(lambda: len(over) == 2)
    assert order == ["a", "b"] * (len(order) // 2)
    assert len(order) >= 4


def test_the_texts_are_those_that_each_would_have_alone(scheduler, plain, run):
    prompts = ["the rain", "in spain", "stays mainly"]
    alone = [plain.generate(prompt).tokens for prompt in prompts]
    found = {prompt: [] for prompt in prompts}
    over = []
    for prompt in prompts:
        scheduler.submit(
            lambda prompt=prompt: plain.rounds(prompt),
            lambda done, prompt=prompt: over.append(1) if done is None else found[prompt].extend(done.tokens),
        )
    wait_for(lambda: len(over) == 3)
    assert [tuple(found[prompt]) for prompt in prompts] == alone


def test_a_request_that_is_let_go_is_closed_and_the_others_go_on(scheduler, plain):
    closed, over, other = threading.Event(), threading.Event(), []

    def endless():
        try:
            while True:
                yield from plain.rounds("the rain", max_new_tokens=2)
        finally:
            closed.set()

    task = scheduler.submit(endless, lambda done: over.set() if done is None else None)
    scheduler.submit(lambda: plain.rounds("in spain"), other.append)
    wait_for(lambda: other and other[-1] is None)
    task.cancel()
    assert closed.wait(10.0)
    assert over.wait(10.0)


def test_trouble_of_one_request_is_told_to_it_alone(scheduler, plain):
    def broken():
        raise RuntimeError("no memory")

    one, other = [], []
    scheduler.submit(broken, one.append)
    scheduler.submit(lambda: plain.rounds("the rain"), other.append)
    wait_for(lambda: other and other[-1] is None)
    assert [str(error) for error in one] == ["no memory"]


def test_stopping_lets_all_go_and_takes_on_no_more(plain):
    scheduler = RoundRobinScheduler()
    heard = []

    def endless():
        while True:
            yield from plain.rounds("the rain", max_new_tokens=2)

    scheduler.submit(endless, heard.append)
    wait_for(lambda: heard)
    scheduler.stop()
    assert isinstance(heard[-1], ClosedError)
    with pytest.raises(ClosedError, match="closed"):
        scheduler.submit(endless, heard.append)


def test_only_so_many_begin_and_those_who_leave_the_line_leave_it(plain):
    scheduler = RoundRobinScheduler(max_active=2)
    begun, go = [], threading.Event()

    def endless(name):
        begun.append(name)
        while not go.is_set():
            yield from plain.rounds("the rain", max_new_tokens=2)

    over = []
    for name in "abc":
        scheduler.submit(
            lambda name=name: endless(name), lambda done, name=name: over.append(name) if done is None else 0
        )
    wait_for(lambda: len(begun) == 2)
    for _ in range(50):
        scheduler.submit(lambda: endless("gone"), lambda done: None).cancel()
    time.sleep(0.05)
    assert begun == ["a", "b"]
    assert len(scheduler._waiting) <= 2
    go.set()
    wait_for(lambda: sorted(over) == ["a", "b", "c"])
    assert "gone" not in begun
    scheduler.stop()
