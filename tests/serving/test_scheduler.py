"""Many requests, one decoder: nobody holds up the others, and whoever leaves is let go."""

import time

import pytest
from structlog.testing import capture_logs

from paceline import ClosedError, Tally
from paceline.serving.scheduler import Scheduler

LONG = 10**6


@pytest.fixture
def scheduler(plain):
    scheduler = Scheduler(plain, max_active=2)
    yield scheduler
    scheduler.stop()


def wait_for(condition):
    until = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def submit(scheduler, deliver, prompt="the rain", max_new_tokens=9):
    tokens = scheduler._batch.decoder.encode(prompt) if isinstance(prompt, str) else prompt
    return scheduler.submit(
        tokens, deliver, max_new_tokens=max_new_tokens, stop=None, sampling=None, tally=Tally()
    )


def test_a_short_request_does_not_wait_for_the_end_of_a_long_one(scheduler):
    long, short = [], []
    task = submit(scheduler, long.append, max_new_tokens=LONG)
    wait_for(lambda: long)
    submit(scheduler, short.append)
    wait_for(lambda: short and short[-1] is None)
    assert None not in long
    task.cancel()


def test_trouble_of_one_request_is_told_to_it_alone(scheduler):
    empty, limit, other = [], [], []
    submit(scheduler, empty.append, prompt=[])
    submit(scheduler, limit.append, max_new_tokens=0)
    submit(scheduler, other.append)
    wait_for(lambda: other and other[-1] is None)
    assert [type(error).__name__ for error in (*empty, *limit)] == ["BackendError", "BackendError"]


def test_only_so_many_begin_and_those_who_leave_the_line_leave_it(scheduler):
    begun, over = set(), []

    def listen(name):
        return lambda done: over.append(name) if done is None else begun.add(name)

    tasks = [submit(scheduler, listen(name), max_new_tokens=LONG) for name in "abc"]
    wait_for(lambda: len(begun) == 2)
    for _ in range(50):
        submit(scheduler, listen("gone")).cancel()
    assert begun == {"a", "b"}
    assert len(scheduler._waiting) <= 2
    assert scheduler.counts() == (2, 1)
    for task in tasks:
        task.cancel()
    wait_for(lambda: scheduler.counts() == (0, 0))
    submit(scheduler, listen("last"))
    wait_for(lambda: "last" in over)
    assert set("abc") <= set(over)
    assert over.count("gone") == 50
    assert "gone" not in begun


def test_rounds_that_fail_as_a_whole_end_those_under_way_and_not_the_thread(scheduler, monkeypatch):
    step, heard, later = scheduler._batch.step, [], []

    def failing():
        monkeypatch.setattr(scheduler._batch, "step", step)
        raise OSError("no space")

    monkeypatch.setattr(scheduler._batch, "step", failing)
    with capture_logs() as logs:
        submit(scheduler, heard.append)
        wait_for(lambda: heard)
    assert [type(error) for error in heard] == [OSError]
    assert [line["event"] for line in logs] == ["rounds_failed"]
    submit(scheduler, later.append)
    wait_for(lambda: later and later[-1] is None)
    assert scheduler._batch.busy is False


def test_stopping_lets_all_go_and_takes_on_no_more(scheduler):
    heard = []
    submit(scheduler, heard.append, max_new_tokens=LONG)
    wait_for(lambda: heard)
    scheduler.stop()
    assert isinstance(heard[-1], ClosedError)
    with pytest.raises(ClosedError, match="closed"):
        submit(scheduler, heard.append)


def test_what_goes_wrong_in_closing_is_raised_to_who_closes(plain, monkeypatch):
    def failing():
        raise OSError("no space")

    scheduler = Scheduler(plain, max_active=2)
    heard = []
    submit(scheduler, heard.append)
    wait_for(lambda: heard and heard[-1] is None)
    monkeypatch.setattr(plain, "close", failing)
    with pytest.raises(OSError, match="no space"):
        scheduler.stop()
