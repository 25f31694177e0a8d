"""A process that is forked off: it hangs on nothing, and what it writes is its own."""

import contextlib
import json
import os
import signal
import threading
import traceback
import warnings

import pytest
from structlog.testing import capture_logs

import paceline
from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.clock import CostTableClock
from paceline.core.costs import CostTable
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.forking import ForkSafeLock
from paceline.core.state.store import StateStore
from paceline.core.testing.doubles import ScriptedPolicy
from paceline.core.trace import TraceWriter, read_trace

TARGET = ToyTarget(seed=3)
RUN = {"target": {"backend": "toy", "seed": 3}, "drafts": {"small": {"backend": "toy"}}}


def in_child(work):
    """Run something in a forked process and return its number, once it has ended well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # later Pythons warn of forks beside threads
        process = os.fork()
    if process == 0:
        code = 1
        with contextlib.suppress(BaseException):
            try:
                signal.alarm(30)
                with capture_logs():
                    work()
                code = 0
            except BaseException:  # noqa: BLE001 - the parent asserts that there was none
                traceback.print_exc()
        os._exit(code)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return process


@contextlib.contextmanager
def held(lock):
    """Let another thread hold a lock."""
    taken, done = threading.Event(), threading.Event()

    def hold():
        with lock:
            taken.set()
            done.wait(60.0)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(60.0)
    yield
    done.set()
    thread.join()


def decoder(**options):
    return SpeculativeDecoder(
        TARGET, {"d": ToyDraft(TARGET)}, ScriptedPolicy([2]), max_new_tokens=20, **options
    )


def texts(path):
    """Return the text of each request of a trace."""
    return [tuple(token for done in one.rounds for token in done.tokens) for one in read_trace(path).requests]


def test_a_child_writes_a_trace_of_its_own_and_leaves_the_parents_alone(tmp_path):
    path = tmp_path / "today.jsonl"
    with decoder(trace=TraceWriter(path)) as speculating:
        alone = {first: decoder().generate([first]).tokens for first in (5, 6, 7)}
        rounds = speculating.rounds([5])
        next(rounds)

        def child():
            assert len(list(rounds)) > 0
            speculating.generate([6])
            speculating.generate([7])
            speculating.close()

        process = in_child(child)
        list(rounds)
        speculating.generate([7])
    assert texts(path) == [alone[5], alone[7]]
    assert all(one.complete and one.ended == "length" for one in read_trace(path).requests)
    assert texts(tmp_path / f"today-{process}.jsonl") == [alone[6], alone[7]]


def test_children_of_a_decoder_that_has_traced_nothing_yet_do_not_share_a_file(tmp_path):
    path = tmp_path / "today.jsonl"
    with decoder(trace=TraceWriter(path)) as speculating:
        children = [in_child(lambda first=first: speculating.generate([first])) for first in (5, 6)]
        speculating.generate([7])
    assert [len(texts(tmp_path / f"today-{process}.jsonl")) for process in children] == [1, 1]
    assert len(texts(path)) == 1


@pytest.mark.parametrize("lock", ["turn", "_lock"])
def test_a_child_takes_its_turn_though_a_thread_of_the_parent_is_in_one(lock):
    speculating = paceline.load(RUN | {"scope": "process", "policy": "online"})
    expected = speculating.generate("the rain", max_new_tokens=20).tokens

    def child():
        assert speculating.generate("the rain", max_new_tokens=20).tokens == expected
        other = paceline.load(RUN | {"scope": "process", "policy": "online"})
        assert other.policy is speculating.policy
        assert other.generate("the rain", max_new_tokens=20).tokens == expected

    with held(getattr(speculating, lock)):
        in_child(child)


def test_a_child_serves_requests_though_a_thread_of_the_parent_is_in_the_middle_of_one():
    speculating = decoder()
    inside, go_on = threading.Event(), threading.Event()

    def wait(_done):
        inside.set()
        assert go_on.wait(60.0)

    thread = threading.Thread(target=lambda: speculating.generate([5], on_round=wait))
    thread.start()
    assert inside.wait(60.0)
    in_child(lambda: speculating.generate([6]))
    go_on.set()
    thread.join()


def test_a_lock_stays_with_the_thread_that_forks():
    lock = ForkSafeLock()

    def child():
        with lock:  # it is reentrant
            pass
        other = threading.Thread(target=lambda: taken.append(lock._lock.acquire(blocking=False)))
        taken = []
        other.start()
        other.join()
        assert taken == [False]

    with lock:
        in_child(child)


def test_what_was_learnt_before_the_fork_is_counted_once(tmp_path):
    state = tmp_path / "state.db"
    run = RUN | {"policy": {"name": "thompson", "discount": 1.0}, "state": str(state)}
    drafting_pays = CostTableClock(CostTable({1: 1.0}, {"small": 0.01}))
    speculating = paceline.load_config(run).build(clock=drafting_pays)
    speculating.generate("the rain", max_new_tokens=40)

    def child():
        speculating.generate("in spain", max_new_tokens=40)
        speculating.close()
        (tmp_path / "child.json").write_text(json.dumps(speculating.policy.export()))

    in_child(child)
    speculating.close()
    both = json.loads((tmp_path / "child.json").read_text())
    assert sum(both.values()) > sum(speculating.policy.export().values())
    store = StateStore(state)
    (key,) = store.keys()
    assert store.read(key)["statistics"] == pytest.approx(both)
