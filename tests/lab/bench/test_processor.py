"""Time on the processor, beside the clock on the wall."""

import time

import pytest

from paceline.lab.bench import processor
from paceline.lab.bench.processor import Stopwatch, machine_ticks, stolen, threads, waiting
from paceline.lab.results import ProcessorUse


def a_task(folder, name, text):
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "schedstat").write_text(text)


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """Stand in for the kernel's account of threads."""
    monkeypatch.setattr(processor, "TASKS", tmp_path)
    a_task(tmp_path, "7", "1000000000 500000000 9\n")
    a_task(tmp_path, "8", "2000000000 0 9\n")
    return tmp_path


def test_a_stopwatch_tells_work_from_sleep():
    watch = Stopwatch()
    while time.process_time() - watch._processor < 0.05:
        pass
    worked = watch.stop()
    watch = Stopwatch()
    time.sleep(0.05)
    slept = watch.stop()

    assert worked.processor.seconds >= 0.05
    assert slept.seconds >= 0.05
    assert slept.processor.seconds < 0.04
    for elapsed in (worked, slept):
        assert elapsed.processor.waited_s is None or elapsed.processor.waited_s >= 0.0


def test_threads_at_work_are_counted_and_what_they_waited_for_a_core_is_summed(tasks):
    watch = Stopwatch()
    a_task(tasks, "7", "1900000000 800000000 20\n")
    a_task(tasks, "8", "2010000000 100000000 20\n")  # a hundredth of the work: a logger
    assert watch.stop().processor.threads == 1
    assert watch.stop().processor.waited_s == pytest.approx(0.4)
    a_task(tasks, "9", "800000000 200000000 1\n")  # began meanwhile
    assert watch.stop().processor.threads == 2
    assert watch.stop().processor.waited_s == pytest.approx(0.6)


@pytest.mark.parametrize("account", [None, "", "what\n"])
def test_where_the_kernel_keeps_no_account_nothing_is_told(tmp_path, monkeypatch, account):
    monkeypatch.setattr(processor, "TASKS", tmp_path / "tasks")
    if account is not None:
        (tmp_path / "tasks").mkdir()
        a_task(tmp_path / "tasks", "7", account)
    use = Stopwatch().stop().processor
    assert threads() == {}
    assert (use.waited_s, use.threads) == (None, None)
    assert use.seconds >= 0.0


def test_the_share_without_a_core_is_of_all_that_told():
    assert waiting([]) is None
    assert waiting([None, ProcessorUse(1.0)]) is None
    assert waiting([ProcessorUse(1.0, 3.0, 1), ProcessorUse(2.0, 0.0, 1), None]) == pytest.approx(0.5)


def test_what_a_hypervisor_took_is_a_share_of_all_ticks(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "MACHINE", tmp_path / "stat")
    assert machine_ticks() == (0, 0)
    (tmp_path / "stat").write_text("cpu  10 0 10 60 0 0 0 20 5 0\ncpu0 1 1\n")
    assert machine_ticks() == (20, 100)
    assert stolen((20, 100), (50, 200)) == pytest.approx(0.3)
    assert stolen((20, 100), (20, 100)) == 0.0
