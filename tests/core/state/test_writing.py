"""Writing: the file is the old one or the new one, and two writers lose nothing."""

import itertools
import multiprocessing
import os
import signal
import sqlite3
import stat
import threading
import time

import pytest
from structlog.testing import capture_logs

from paceline.core.errors import PacelineError
from paceline.core.state import store as store_module
from paceline.core.state.store import StateStore

THOMPSON = {"name": "thompson", "discount": 1.0}


def write_for_ever(path):
    for number in itertools.count(1):
        document = {"number": number, "again": [number] * 2000}
        StateStore(path).update("counted", lambda _, document=document: document)


def test_a_process_killed_at_any_moment_leaves_what_was_written_last(tmp_path):
    context = multiprocessing.get_context("fork")
    store = StateStore(tmp_path / "state.db")
    store.update("other", lambda _: "stays")
    for attempt in range(6):
        writer = context.Process(target=write_for_ever, args=(store.path,))
        writer.start()
        time.sleep(0.06 + 0.017 * attempt)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        store.check()
        document = store.read("counted") or {"number": 0, "again": [0] * 2000}
        assert document["again"] == [document["number"]] * 2000
        assert store.read("other") == "stays"
    assert document["number"] > 0


def test_a_process_killed_between_two_steps_of_a_change_leaves_the_old_document(kept):
    kept.learn()
    store, key = StateStore(kept.path), kept.key()
    before = store.read(key)
    process = os.fork()
    if process == 0:
        store.update(key, lambda _: os.kill(os.getpid(), signal.SIGKILL))
    os.waitpid(process, 0)
    assert store.read(key) == before
    assert kept.learn("in spain").state_dict() == kept.entry()["state"]


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR])
def test_a_disk_that_fails_leaves_the_old_file_and_a_warning(kept, monkeypatch, code):
    kept.learn()
    before = kept.entries()

    def fail(*_):
        error = sqlite3.OperationalError("no room")
        error.sqlite_errorcode = code
        raise error

    decoder = kept.load()
    decoder.generate("in spain")
    monkeypatch.setattr(store_module.json, "dumps", fail)
    with capture_logs() as logs:
        decoder.close()
    monkeypatch.undo()
    assert [log["event"] for log in logs] == ["state_not_saved"]
    assert kept.entries() == before
    decoder.close()
    assert kept.load().policy.state_dict() == decoder.policy.state_dict()


def test_a_file_never_grows_beyond_its_bound(tmp_path):
    store = StateStore(tmp_path / "state.db")
    store.update("small", lambda _: 1)
    with pytest.raises(PacelineError, match="it would have more than 32 MiB"):
        store.update("large", lambda _: "x" * store_module.MAX_BYTES)
    assert store.keys() == ["small"]
    store.check()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_can_be_read(tmp_path):
    store = StateStore(tmp_path / "state.db")
    store.update("a", lambda _: 1)
    store.path.chmod(0o400)
    assert store.read("a") == 1
    with pytest.raises(PacelineError, match="may not be written"):
        store.update("a", lambda _: 2)


def test_a_lock_that_is_never_let_go_ends_in_a_warning(kept, monkeypatch):
    kept.learn()
    decoder = kept.load()
    decoder.generate("in spain")
    monkeypatch.setattr(store_module, "BUSY_TIMEOUT_S", 0.05)
    other = sqlite3.connect(kept.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with capture_logs() as logs:
        decoder.close()
    other.close()
    assert [log["event"] for log in logs] == ["state_not_saved"]
    assert "is in use by another process" in logs[0]["reason"]
    decoder.close()
    assert kept.entry()["state"] == decoder.policy.state_dict()


def test_no_process_is_forked_off_within_a_transaction(tmp_path):
    store, inside = StateStore(tmp_path / "state.db"), threading.Event()

    def change(_document):
        inside.set()
        time.sleep(0.2)
        return "written"

    writer = threading.Thread(target=store.update, args=("a", change))
    writer.start()
    assert inside.wait(30.0)
    process = os.fork()
    if process == 0:
        signal.alarm(30)
        os._exit(store.read("a") != "written" or store.update("b", lambda _: 1) != 1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    writer.join(30.0)
    assert store.keys() == ["a", "b"]


def test_a_link_is_followed_and_permissions_stay(kept):
    kept.learn()
    kept.path.chmod(0o600)
    link = kept.path.with_name("link.db")
    link.symlink_to(kept.path.name)
    kept.learn("in spain", state=str(link))
    assert link.is_symlink()
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600


def test_documents_of_other_keys_stay_and_one_can_be_removed(tmp_path):
    store = StateStore(tmp_path / "state.db")
    assert (store.keys(), store.read("a")) == ([], None)
    store.remove("a")
    assert not store.path.exists()
    for key in ("b", "a"):
        store.update(key, lambda _, key=key: {"of": key})
    store.update("a", lambda document: document | {"more": [1.5, None, "é"]})
    assert store.keys() == ["a", "b"]
    assert store.read("a") == {"of": "a", "more": [1.5, None, "é"]}
    store.remove("a")
    store.remove("a")
    assert (store.keys(), store.read("a"), store.read("b")) == (["b"], None, {"of": "b"})


def finish(kept, prompt, barrier, results):
    """Learn from one prompt, and close at the same moment as the others."""
    decoder = kept.load(policy=THOMPSON)
    decoder.generate(prompt)
    barrier.wait(timeout=60)
    decoder.close()
    results.put(decoder.policy.export())


def test_processes_that_finish_at_once_add_up(kept):
    known = kept.learn(policy=THOMPSON).export()
    context = multiprocessing.get_context("fork")
    prompts = ("a b", "c d e", "f", "g h i j")
    barrier, results = context.Barrier(len(prompts)), context.Queue()
    children = [context.Process(target=finish, args=(kept, one, barrier, results)) for one in prompts]
    for child in children:
        child.start()
    exports = [results.get(timeout=60) for _ in children]
    for child in children:
        child.join(timeout=60)
    names = {name for export in exports for name in export}
    expected = {
        name: known.get(name, 0) + sum(export.get(name, 0) - known.get(name, 0) for export in exports)
        for name in names
    }
    assert kept.entry()["statistics"] == pytest.approx(expected)
    assert "state" not in kept.entry()


def test_the_next_decoder_knows_what_both_learnt_and_its_own_restart_is_exact_again(kept):
    first, second = kept.load(policy=THOMPSON), kept.load(policy=THOMPSON)
    for decoder, prompt in ((first, "a b"), (second, "c d e")):
        decoder.generate(prompt)
    first.close()
    second.close()
    total = kept.entry()["statistics"]
    third = kept.load(policy=THOMPSON)
    assert third.policy.export() == pytest.approx(total)
    third.generate("in spain")
    third.close()
    assert kept.load(policy=THOMPSON).policy.state_dict() == third.policy.state_dict()


def test_a_decoder_that_others_wrote_beside_adds_each_thing_once_however_often_it_is_closed(kept):
    first, second = kept.load(policy=THOMPSON), kept.load(policy=THOMPSON)
    for decoder in (first, second, first, second):
        decoder.generate("a b")
        decoder.close()
    one, other = first.policy.export(), second.policy.export()
    expected = {name: one.get(name, 0) + other.get(name, 0) for name in one.keys() | other.keys()}
    assert kept.entry()["statistics"] == pytest.approx(expected)


def test_without_sums_the_latest_state_wins_and_a_decoder_that_learnt_nothing_does_not_count(kept):
    idle, first, second = kept.load(), kept.load(), kept.load()
    first.generate("a b")
    second.generate("c d e")
    for decoder in (first, second, idle):
        decoder.close()
    assert kept.entry()["state"] == second.policy.state_dict()


def add_one(path, times):
    for _ in range(times):
        StateStore(path).update("sum", lambda total: (total or 0) + 1)


def test_eight_processes_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    path = tmp_path / "state.db"
    children = [context.Process(target=add_one, args=(path, 5)) for _ in range(8)]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout=60)
    assert [child.exitcode for child in children] == [0] * 8
    assert StateStore(path).read("sum") == 40


def test_nothing_but_the_file_is_left_in_the_folder(kept):
    kept.learn()
    assert [file.name for file in kept.path.parent.iterdir()] == [kept.path.name]


def test_a_policy_whose_state_is_no_json_is_told_where_and_not_to_change_the_file(kept, monkeypatch):
    decoder = kept.load()
    decoder.generate("in spain")
    monkeypatch.setattr(decoder.policy, "state_dict", lambda: {"version": 1, "rates": [1.0, float("nan")]})
    with capture_logs() as logs:
        decoder.close()
    assert "nan at 'rates.1'" in logs[0]["reason"]
    assert "check_policy" in logs[0]["remedy"]
    assert not kept.path.exists()
