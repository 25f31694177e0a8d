"""Files that cannot be used: refused with a message, never destroyed."""

import json

import pytest
from structlog.testing import capture_logs


def text(document):
    return json.dumps(document)


# Each is what stands in the file, made from a good file's document and the key of its entry.
FILES = [
    (lambda doc, _key: text(doc)[:-30], "it is not JSON: "),
    (lambda _doc, _key: "", "it is not JSON: "),
    (lambda _doc, _key: "\x00\x01", "it is not JSON: "),
    (lambda _doc, _key: "[" * 100_000, "it is nested too deeply"),
    (lambda _doc, _key: text([1, 2]), "it is no state file: \"kind\" is not 'paceline-state'"),
    (lambda _doc, _key: text({"kind": "trace", "version": 1}), "it is no state file"),
    (lambda doc, _key: text(doc | {"version": 2}), "it is of version 2; this paceline reads version 1"),
    (lambda doc, _key: text(doc | {"version": True}), "it is of version True"),
    (lambda doc, _key: text(doc | {"entries": []}), '"entries" is not a mapping'),
    (lambda doc, _key: text(doc | {"later": float("nan")}), "NaN is no number"),
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
        "a count of refusals is -2",
    ),
    ({"statistics": [1]}, "the statistics are list, not a mapping"),
    ({"statistics": {"a": "many"}}, "the statistic 'a' is 'many', not a finite number"),
    ({"statistics": {"a": True}}, "the statistic 'a' is True, not a finite number"),
    ({"statistics": {"a": 1.0}, "state": None}, "it holds statistics, and this policy cannot take up any"),
]


def refused(kept, reason, logs):
    assert [log["event"] for log in logs] == ["state_refused"]
    (log,) = logs
    assert (log["log_level"], log["file"]) == ("warning", str(kept.path.resolve()))
    assert log["key"].startswith("online-")
    assert reason in log["reason"]
    assert "fresh" in log["action"]
    assert ".damaged-" in log["remedy"]


@pytest.mark.parametrize(("damage", "reason"), FILES, ids=[reason[:30] for _, reason in FILES])
def test_a_damaged_file_is_refused_kept_aside_and_replaced(kept, damage, reason):
    kept.learn()
    damaged = damage(kept.document(), kept.key())
    kept.path.write_text(damaged)
    with capture_logs() as logs:
        decoder = kept.load()
    refused(kept, reason, logs)
    assert decoder.policy.state_dict() == kept.config().policy.build().state_dict()
    assert kept.path.read_text() == damaged
    decoder.generate("the rain")
    decoder.close()
    assert [file.read_text() for file in kept.aside()] == [damaged]
    with capture_logs() as logs:
        assert kept.load().policy.state_dict() == decoder.policy.state_dict()
    assert logs == []


@pytest.mark.parametrize(("damage", "reason"), ENTRIES, ids=[reason[:40] for _, reason in ENTRIES])
def test_a_damaged_entry_is_refused_and_the_others_stay(kept, damage, reason):
    kept.learn()
    document, key = kept.document(), kept.key()
    entry = document["entries"][key]
    document["entries"] = {
        key: damage if isinstance(damage, list) else entry | damage,
        "other": {"kept": ["as", "it", "is"]},
    }
    document["later"] = "a key of a newer paceline"
    kept.path.write_text(text(document))
    with capture_logs() as logs:
        decoder = kept.load()
    refused(kept, reason, logs)
    decoder.generate("the rain")
    decoder.close()
    found = kept.document()
    assert found["entries"].pop("other") == {"kept": ["as", "it", "is"]}
    assert found["later"] == "a key of a newer paceline"
    assert found["entries"][key]["state"] == decoder.policy.state_dict()
    assert [json.loads(file.read_text()) for file in kept.aside()] == [document]


def test_the_same_damage_is_kept_aside_once(kept):
    for _ in range(3):
        kept.path.parent.mkdir(exist_ok=True)
        kept.path.write_text("damage")
        kept.learn()
    assert len(kept.aside()) == 1


def test_what_another_process_repaired_meanwhile_is_not_taken_for_damaged(kept):
    kept.learn()
    good = kept.path.read_text()
    kept.path.write_text("damage")
    with capture_logs():
        decoder = kept.load()
    kept.path.write_text(good)
    decoder.generate("the rain")
    decoder.close()
    assert kept.aside() == []
