"""The number of threads is the fastest of those tried, the target's, and said in one line."""

import os
import time

import pytest
import structlog
import torch

from paceline.backends.embedded.config import EmbeddedConfig
from paceline.backends.graph import GraphConfig, threads
from paceline.backends.graph.threads import choose_threads, thread_numbers
from paceline.backends.transformers.config import HfConfig

from ..torch.stand_ins import folder_of


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch):
    """Leave the process with the threads that it had."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("processors", "numbers"),
    [(1, (1,)), (2, (1, 2)), (6, (1, 2, 3, 4, 6)), (8, (1, 2, 4, 8)), (48, (1, 2, 4, 8, 16, 24, 32, 48))],
)
def test_numbers_are_doubled_up_to_all_processors_and_half_of_them_is_among_them(
    processors, numbers, monkeypatch
):
    monkeypatch.setattr(threads, "cores", lambda: processors)
    assert thread_numbers() == numbers


def test_the_variable_of_openmp_is_the_most(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert thread_numbers() == (1, 2)


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [((4.0, 2.0, 3.0), 2), ((4.0, 3.9, 3.89), 1), ((4.0, 3.9, 3.85), 2), ((1.0, 9.0, 0.9), 4)],
)
def test_the_fastest_is_taken_and_of_nearly_equal_ones_the_fewest(seconds, chosen, monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 4)
    now = 0.0
    monkeypatch.setattr(threads, "perf_counter", lambda: now)

    def walk():
        nonlocal now
        now += dict(zip((1, 2, 4), seconds, strict=True))[torch.get_num_threads()]

    with structlog.testing.capture_logs() as lines:
        choose_threads(walk, "mine")
    assert torch.get_num_threads() == chosen
    (line,) = lines
    assert (line["event"], line["model"], line["threads"]) == ("threads_chosen", "mine", chosen)
    assert line["milliseconds"].keys() == {1, 2, 4}


def test_a_number_that_is_far_slower_is_tried_once(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 2)
    walks = []

    def walk():
        walks.append(torch.get_num_threads())
        time.sleep(0.001 if torch.get_num_threads() == 1 else 0.1)

    choose_threads(walk, "mine")
    assert walks == [1, 1, 2, 2]


def test_a_slow_model_is_not_tried_longer_than_it_must_be(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.setattr(threads, "ENOUGH_S", 0.0)
    monkeypatch.setattr(threads, "HOPELESS", 1e9)
    walks = []
    choose_threads(lambda: walks.append(time.sleep(0.001)), "slow")
    assert len(walks) == 2 * (threads.ROUNDS[0] + 1)


@pytest.mark.parametrize("kind", [GraphConfig, HfConfig])
def test_the_target_decides_and_drafts_leave_its_choice_alone(kind, tmp_path):
    folder = folder_of(tmp_path, dtype=torch.float32)
    target = kind(model=folder, device="cpu", threads=2).build_target()
    assert torch.get_num_threads() == 2
    with structlog.testing.capture_logs() as lines:
        kind(model=folder, device="cpu", threads=1).build_draft(target)
        kind(model=folder, device="cpu").build_draft(target)
        EmbeddedConfig().source("small")
    assert torch.get_num_threads() == 2
    assert [line["event"] for line in lines] == ["threads_kept"]


def test_null_leaves_them_alone_and_auto_is_the_default_of_graph(tmp_path, monkeypatch):
    folder = folder_of(tmp_path, dtype=torch.float32)
    torch.set_num_threads(2)
    GraphConfig(model=folder, device="cpu", threads=None).build_target()
    assert torch.get_num_threads() == 2
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    GraphConfig(model=folder, device="cpu").build_target()
    assert torch.get_num_threads() == 1
