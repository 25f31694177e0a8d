"""Files and entries that cannot be used: refused with a message, never destroyed."""

import json
import os
import sqlite3

import pytest
from structlog.testing import capture_logs

from paceline.core.errors import ConfigError, PacelineError
from paceline.core.state.store import MAX_BYTES, StateStore

# Each is what stands in the file, made from a good file.
FILES = [
    (lambda _good: b"\x00\x01", "is no state file"),
    (lambda _good: b"[1, 2]", "is no state file"),
    (lambda good: good[:16] + b"\x00" * 5000, "is no state file"),
    (lambda good: good[:4096] + b"\xff" * 100 + good[4196:], "is damaged"),
    (lambda good: good[: len(good) // 2], "is damaged"),
    (lambda _good: b'{"kind": "paceline-state", "version": 1}', "of paceline 0.1, which was JSON"),
    (lambda good: good + b"\x00" * MAX_BYTES, "has more than 32 MiB"),
]
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
