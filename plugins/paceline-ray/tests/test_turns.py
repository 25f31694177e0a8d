"""Many requests, one decoder: rounds take turns, and whoever leaves is let go."""

import threading
import time

import pytest

from paceline_ray.counts import Counts, gammas
from paceline_ray.turns import Turns


@pytest.fixture
def counts():
    return Counts()


@pytest.fixture
def turns(counts):
    found = Turns(threading.Lock(), counts)
    yield found
    found.stop()


def wait_for(condition):
    until = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_requests_take_turns_round_by_round(turns, plain):
    order, over = [], []

    def listen(name):
        return lambda done: over.append(name) if done is None else order.append(name)

    for name in ("a", "b"):
        turns.submit(lambda: plain.rounds("the rain", max_new_tokens=9), listen(name))
    turns.start()
    wait_for(lambda: len(over) == 2)
    assert order == ["a", "b"] * (len(order) // 2)
    assert len(order) >= 4


def test_the_texts_are_those_that_each_would_have_alone(turns, plain, run):
    prompts = ["the rain", "in spain", "stays mainly"]
    alone = [plain.generate(prompt).tokens for prompt in prompts]
    found = {prompt: [] for prompt in prompts}
    over = []
    turns.start()
    for prompt in prompts:
        turns.submit(
            lambda prompt=prompt: plain.rounds(prompt),
            lambda done, prompt=prompt: over.append(1) if done is None else found[prompt].extend(done.tokens),
        )
    wait_for(lambda: len(over) == 3)
    assert [tuple(found[prompt]) for prompt in prompts] == alone


def test_a_request_that_is_let_go_is_closed_and_the_others_go_on(turns, plain):
    closed, over, other = threading.Event(), threading.Event(), []

    def endless():
        try:
            while True:
                yield from plain.rounds("the rain", max_new_tokens=2)
        finally:
            closed.set()

    turns.start()
    turn = turns.submit(endless, lambda done: over.set() if done is None else None)
    turns.submit(lambda: plain.rounds("in spain"), other.append)
    wait_for(lambda: other and other[-1] is None)
    turn.cancel()
    assert closed.wait(10.0)
    assert over.wait(10.0)


def test_trouble_of_one_request_is_told_to_it_alone(turns, plain):
    def broken():
        raise RuntimeError("no memory")

    one, other = [], []
    turns.start()
    turns.submit(broken, one.append)
    turns.submit(lambda: plain.rounds("the rain"), other.append)
    wait_for(lambda: other and other[-1] is None)
    assert [str(error) for error in one] == ["no memory"]


def test_stopping_lets_all_go_and_takes_on_no_more(counts, plain):
    turns = Turns(threading.Lock(), counts)
    heard = []

    def endless():
        while True:
            yield from plain.rounds("the rain", max_new_tokens=2)

    turns.start()
    turns.submit(endless, heard.append)
    wait_for(lambda: heard)
    turns.stop()
    assert heard[-1] is None
    with pytest.raises(RuntimeError, match="shutting down"):
        turns.submit(endless, heard.append)


def test_only_so_many_begin_and_those_who_leave_the_line_leave_it(counts, plain):
    turns = Turns(threading.Lock(), counts, at_once=2)
    begun, go = [], threading.Event()

    def endless(name):
        begun.append(name)
        while not go.is_set():
            yield from plain.rounds("the rain", max_new_tokens=2)

    over = []
    turns.start()
    for name in "abc":
        turns.submit(
            lambda name=name: endless(name), lambda done, name=name: over.append(name) if done is None else 0
        )
    wait_for(lambda: len(begun) == 2)
    for _ in range(50):
        turns.submit(lambda: endless("gone"), lambda done: None).cancel()
    time.sleep(0.05)
    assert begun == ["a", "b"]
    assert len(turns._waiting) <= 2
    go.set()
    wait_for(lambda: sorted(over) == ["a", "b", "c"])
    assert "gone" not in begun
    turns.stop()


def test_the_counts_are_those_of_the_rounds(turns, plain, counts):
    heard = []
    turns.submit(lambda: plain.rounds("the rain"), heard.append)
    turns.start()
    wait_for(lambda: heard and heard[-1] is None)
    rounds = heard[:-1]
    sums = counts.sums()
    assert sums["requests"] == 1
    assert sums["rounds"] == len(rounds) == sum(gammas(sums).values())
    assert sums["drafted"] == sum(one.drafted for one in rounds)
    assert sums["accepted"] == sum(one.accepted for one in rounds)
    assert sums["emitted"] == sum(one.emitted for one in rounds) == 40
