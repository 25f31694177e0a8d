"""Files and entries that cannot be used: refused or set aside with a message, never destroyed."""

import fcntl
import json
import multiprocessing
import os
import signal
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from paceline.core.errors import ConfigError, PacelineError
from paceline.core.state import store as store_module
from paceline.core.state.store import MAX_BYTES, StateStore

# Each is what stands in the file, made from a good file.
FILES = [
    (lambda _good: b"\x00\x01", "is no state file"),
    (lambda _good: b"[1, 2]", "is no state file"),
    (lambda good: good[:16] + b"\x00" * 5000, "is no state file"),
    (lambda _good: b'{"kind": "paceline-state", "version": 1}', "of paceline 0.1, which was JSON"),
    (lambda good: good + b"\x00" * MAX_BYTES, "has more than 32 MiB"),
]
DAMAGE = {
    "a page is overwritten": lambda good: good[:4096] + b"\xff" * 100 + good[4196:],
    "the tables are overwritten": lambda good: good[:100] + b"\xff" * 400 + good[500:],
    "the first bytes are overwritten": lambda good: b"\x00" * 16 + good[16:],
    "half of it is missing": lambda good: good[: len(good) // 2],
    "hardly anything is left": lambda good: good[:50],
}
STATEMENTS = [
    ("PRAGMA user_version = 3", "is of version 3; this paceline reads version 2"),
    ("PRAGMA application_id = 7", "is no state file, but another database"),
    ("CREATE VIEW more AS SELECT 1", "has other tables than a state file"),
]
ENTRIES = [
    ([], "the entry is list, not a mapping"),
    ({"about": None}, "the entry was learnt about other models, drafts or hardware"),
    ({"about": {"policy": "online"}}, "the entry was learnt about other models, drafts or hardware"),
    ({"state": None}, "the entry holds neither state nor statistics"),
    ({"state": "damage"}, "the state is str, not a mapping"),
    (
        {"state": {"policy": "static", "version": 1}},
        "expected the state of policy 'online', version 1, but found",
    ),
    ({"state": {"policy": "online", "version": 9, "rounds": []}}, "but found policy 'online', version 9"),
    (
        {"state": {"policy": "online", "version": 1, "rounds": [[1, -2]], "quiet": 0}},
        "rounds.0.1 is -2",
    ),
    ({"statistics": [1]}, "the statistics are list, not a mapping"),
    ({"statistics": {"a": "many"}}, "the statistic 'a' is 'many', not a finite number"),
    ({"statistics": {"a": True}}, "the statistic 'a' is True, not a finite number"),
    ({"statistics": {"a": 1.0}, "state": None}, "it holds statistics, and this policy cannot take up any"),
    ("{", "it is not JSON: "),
    ("[" * 100_000, "it is nested too deeply"),
    ('{"later": NaN}', "NaN is no number"),
    ('{"later": 1e300}', "is out of bounds"),
]


@pytest.mark.parametrize(("damage", "reason"), FILES, ids=[reason for _, reason in FILES])
def test_a_file_that_cannot_be_used_is_refused_at_once_and_stays(kept, damage, reason):
    kept.learn()
    decoder = kept.load()
    decoder.generate("in spain")
    damaged = damage(kept.path.read_bytes())
    kept.path.write_bytes(damaged)
    with pytest.raises(ConfigError, match=r"state: .*state\.db: .*") as refused:
        kept.load()
    assert reason in str(refused.value)
    assert len(str(refused.value).partition("; ")[2]) > 10  # what to do
    with capture_logs() as logs:
        decoder.close()
    assert [log["event"] for log in logs] == ["state_not_saved"]
    assert reason in logs[0]["reason"]
    assert kept.path.read_bytes() == damaged


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(kept, damage):
    kept.learn()
    damaged = damage(kept.path.read_bytes())
    for number in (1, 2):
        kept.path.write_bytes(damaged)
        kept.config()
        assert kept.path.read_bytes() == damaged, "reading a run changes nothing"
        with capture_logs() as logs:
            decoder = kept.load()
        aside = kept.path.with_name(f"{kept.path.name}.damaged-{number}")
        assert aside.read_bytes() == damaged
        assert [log["event"] for log in logs] == ["state_set_aside"]
        assert (logs[0]["log_level"], logs[0]["moved_to"]) == ("warning", str(aside.resolve()))
        assert "a good copy" in logs[0]["remedy"]
        assert decoder.policy.state_dict() == kept.config().policy.build().state_dict()
        decoder.generate("the rain")
        decoder.close()
        assert kept.entry()["state"] == decoder.policy.state_dict()
    assert sorted(file.name for file in kept.path.parent.iterdir()) == [
        "state.db",
        "state.db.damaged-1",
        "state.db.damaged-2",
    ]


def test_damage_that_comes_later_is_set_aside_when_the_decoder_is_closed(kept):
    kept.learn()
    decoder = kept.load()
    decoder.generate("in spain")
    kept.path.write_bytes(kept.path.read_bytes()[:5000])
    with capture_logs() as logs:
        decoder.close()
    assert [log["event"] for log in logs] == ["state_set_aside"]
    assert kept.entry()["state"] == decoder.policy.state_dict()


def test_a_damaged_file_of_a_later_version_is_refused_and_stays(kept):
    kept.learn()
    kept.sql("PRAGMA user_version = 3")
    damaged = kept.path.read_bytes()[:4096]
    kept.path.write_bytes(damaged)
    with pytest.raises(ConfigError, match=r"state\.db: is "):
        kept.load()
    assert kept.path.read_bytes() == damaged


@settings(deadline=None, max_examples=60)
@given(
    places=st.lists(st.integers(100, 2**20), min_size=1, max_size=20),
    byte=st.integers(0, 255),
    cut=st.floats(0.1, 1),
)
def test_whatever_bytes_are_damaged_the_next_one_can_go_on(tmp_path_factory, places, byte, cut):
    store = StateStore(tmp_path_factory.mktemp("damaged") / "state.db")
    store.update("a", lambda _: ["x" * 5000, 1])
    data = bytearray(store.path.read_bytes())
    for place in places:
        data[place % (len(data) - 100) + 100] = byte
    store.path.write_bytes(data[: int(len(data) * cut)])
    with capture_logs():
        store.repair()
        with suppress(ValueError):  # what stands there may be no JSON
            store.read("a")
        store.update("a", lambda _: 2)
    assert store.read("a") == 2


def add_to_sum(path, barrier):
    """Add up in one of the processes that have all seen the damage before one of them renames the file."""
    set_aside = StateStore._set_aside

    def together(store, damage):
        StateStore._set_aside = set_aside
        barrier.wait(timeout=60)
        set_aside(store, damage)

    StateStore._set_aside = together
    with capture_logs():
        for _ in range(5):
            StateStore(path).update("sum", lambda total: (total or 0) + 1)


def test_of_eight_processes_that_find_damage_one_sets_it_aside_and_nothing_new_is_lost(tmp_path):
    path = tmp_path / "state.db"
    StateStore(path).update("sum", lambda _: 7)
    damaged = path.read_bytes()[:5000]
    path.write_bytes(damaged)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(8)
    children = [context.Process(target=add_to_sum, args=(path, barrier)) for _ in range(8)]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout=60)
    assert [child.exitcode for child in children] == [0] * 8
    assert StateStore(path).read("sum") == 40
    assert path.with_name("state.db.damaged-1").read_bytes() == damaged
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("steps", [0, 1])
def test_a_process_killed_while_it_sets_a_file_aside_leaves_that_to_the_next_one(
    tmp_path, monkeypatch, steps
):
    store = StateStore(tmp_path / "state.db")
    store.update("a", lambda _: 1)
    damaged = store.path.read_bytes()[:5000]
    store.path.write_bytes(damaged)
    journal = store.path.with_name("state.db-journal")
    lock, rename, done = StateStore._lock, Path.rename, []

    def locked(store, descriptor):
        """Lock a file that another process wrote to, and was killed, just before."""
        journal.write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"\x00" * 504)
        lock(store, descriptor)

    def killed(path, target):
        if len(done) == steps:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(rename(path, target))

    process = os.fork()
    if process == 0:
        monkeypatch.setattr(StateStore, "_lock", locked)
        monkeypatch.setattr(Path, "rename", killed)
        store.repair()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    with capture_logs():
        store.update("a", lambda document: document or 2)
    assert store.read("a") == 2
    assert not journal.exists()
    assert store.path.with_name("state.db.damaged-1").read_bytes() == damaged


def test_a_damaged_file_that_another_process_holds_is_waited_for(tmp_path, monkeypatch):
    store = StateStore(tmp_path / "state.db")
    store.update("a", lambda _: 1)
    store.path.write_bytes(store.path.read_bytes()[:5000])
    monkeypatch.setattr(store_module, "BUSY_TIMEOUT_S", 0.05)
    holding, done = multiprocessing.Event(), multiprocessing.Event()
    process = multiprocessing.get_context("fork").Process(target=hold, args=(store.path, holding, done))
    process.start()
    assert holding.wait(30.0)
    with pytest.raises(PacelineError, match="in use by another process"):
        store.repair()
    done.set()
    process.join(30.0)
    with capture_logs() as logs:
        store.repair()
    assert [log["event"] for log in logs] == ["state_set_aside"]


def hold(path, holding, done):
    with path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, store_module.LOCKED_BYTES[0] + 2)
        holding.set()
        done.wait(30.0)


@pytest.mark.parametrize(("statement", "reason"), STATEMENTS, ids=[reason for _, reason in STATEMENTS])
def test_another_programs_database_and_one_of_another_version_are_refused(kept, statement, reason):
    kept.learn()
    kept.sql(statement)
    with pytest.raises(ConfigError, match=reason):
        kept.load()


def test_damage_that_comes_while_requests_are_served_costs_knowledge_and_no_text(kept):
    decoder = kept.load(scope="request")
    decoder.generate("the rain")
    kept.path.write_bytes(b"damage")
    with capture_logs() as logs:
        assert len(decoder.generate("the rain").tokens) == 60
    assert [log["event"] for log in logs] == ["state_refused", "state_not_saved"]
    assert kept.path.read_bytes() == b"damage"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_neither_read_nor_written(tmp_path, make):
    path = tmp_path / "state.db"
    make(path)
    store = StateStore(path)
    for use in (store.check, store.keys, lambda: store.read("a"), lambda: store.update("a", lambda _: 1)):
        with pytest.raises(PacelineError, match=r"state\.db: is a "):
            use()


def test_an_empty_file_is_one_that_nothing_was_written_to(kept):
    kept.path.parent.mkdir()
    kept.path.touch()
    assert kept.learn().state_dict() == kept.load().policy.state_dict()


@pytest.mark.parametrize(("damage", "reason"), ENTRIES, ids=[reason[:40] for _, reason in ENTRIES])
def test_a_damaged_entry_is_refused_set_aside_and_the_others_stay(kept, damage, reason):
    kept.learn()
    key, entry = kept.key(), kept.entry()
    damaged = damage if isinstance(damage, str) else json.dumps(damage if damage == [] else entry | damage)
    kept.write(key, damaged)
    kept.write("other", '{"kept": ["as", "it", "is"]}')
    with capture_logs() as logs:
        decoder = kept.load()
    assert [log["event"] for log in logs] == ["state_refused"]
    (log,) = logs
    assert (log["log_level"], log["file"], log["key"]) == ("warning", str(kept.path.resolve()), key)
    assert reason in log["reason"]
    assert "fresh" in log["action"]
    assert "refused" in log["remedy"]
    assert decoder.policy.state_dict() == kept.config().policy.build().state_dict()
    decoder.generate("the rain")
    decoder.close()
    decoder.generate("the rain")
    decoder.close()
    assert kept.entries()["other"] == {"kept": ["as", "it", "is"]}
    assert kept.entries()[key]["state"] == decoder.policy.state_dict()
    assert kept.refused() == [damaged]


def test_the_same_damage_is_set_aside_once(kept):
    kept.learn()
    key = kept.key()
    for _ in range(3):
        kept.write(key, "damage")
        with capture_logs():
            kept.learn()
    assert kept.refused() == ["damage"]


def test_what_another_process_repaired_meanwhile_is_not_taken_for_damaged(kept):
    kept.learn()
    key, good = kept.key(), json.dumps(kept.entry())
    kept.write(key, "damage")
    with capture_logs():
        decoder = kept.load()
    kept.write(key, good)
    decoder.generate("the rain")
    decoder.close()
    assert kept.refused() == []


def test_values_that_are_no_text_are_damaged_entries(kept):
    kept.learn()
    kept.write(kept.key(), sqlite3.Binary(b"\xff"))
    with capture_logs() as logs:
        kept.load()
    assert [log["event"] for log in logs] == ["state_refused"]
