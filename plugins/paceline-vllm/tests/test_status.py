"""Counters reach the other process by a file that is whole whenever it is read."""

import json
import os

from structlog.testing import capture_logs

from paceline.testing import LawlessPolicy, ScriptedPolicy
from paceline_vllm.status import StatusWriter, read_status, status_file


def test_gammas_chosen_and_a_failure_are_counted(engine):
    driver = engine(ScriptedPolicy([1, 1, 3]))
    driver.add(max_tokens=200)
    for _ in range(6):
        driver.step()
    assert driver.adapter.counters() == {"gammas": {"1": 4, "3": 2}, "failed": False}
    failing = engine(LawlessPolicy("raise-in-plan"))
    failing.add()
    failing.step()
    assert failing.adapter.counters()["failed"] is True


def test_what_is_written_is_read_and_gone_when_closed(tmp_path):
    counters = {"gammas": {"2": 7}, "failed": False}
    writer = StatusWriter(tmp_path / "status.json", lambda: counters, period_s=60.0)
    assert read_status(writer.path) is None
    writer.write()
    assert read_status(writer.path) == counters
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_it_is_written_by_itself(tmp_path):
    asked = []

    def counters():
        asked.append(1)
        return {"asked": len(asked)}

    writer = StatusWriter(tmp_path / "status.json", counters, period_s=0.001)
    while len(asked) < 3:
        writer._closing.wait(0.001)
    writer.close()
    assert not writer._thread.is_alive()


def test_nothing_is_written_while_nothing_changes(tmp_path):
    writer = StatusWriter(tmp_path / "status.json", lambda: {"same": 1}, period_s=60.0)
    writer.write()
    before = writer.path.stat().st_mtime_ns
    writer.write()
    assert writer.path.stat().st_mtime_ns == before
    writer.close()


def test_a_place_that_cannot_be_written_costs_the_metrics_only(tmp_path):
    writer = StatusWriter(tmp_path / "no" / "such" / "status.json", lambda: {"gammas": {}}, period_s=60.0)
    writer.write()
    writer.close()


def test_no_name_can_be_guessed_and_taken_first(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch()
    folder = tmp_path / "open"
    folder.mkdir()
    for name in (f"status.{os.getpid()}", "status.json"):
        (folder / name).symlink_to(elsewhere)
    writer = StatusWriter(folder / "status.json", lambda: {"gammas": {}}, period_s=60.0)
    writer.write()
    assert elsewhere.read_text(encoding="utf-8") == ""
    assert not writer.path.is_symlink()
    writer.close()


def test_without_a_safe_place_there_are_no_metrics_and_a_log_line(tmp_path, monkeypatch, configured):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = configured({"policy": "static"})
    place = status_file(config)
    assert place.parent == tmp_path / "paceline" / "vllm"
    place.parent.chmod(0o777)
    with capture_logs() as logs:
        assert status_file(config) is None
    assert logs[0]["event"] == "no_status"
    writer = StatusWriter(None, dict)
    writer.write()
    writer.close()


def test_what_is_no_status_is_not_read(tmp_path):
    for text in ("", "{", "[]", json.dumps("x")):
        (tmp_path / "status.json").write_text(text, encoding="utf-8")
        assert read_status(tmp_path / "status.json") is None


def test_both_processes_of_an_engine_find_the_same_place_and_two_engines_do_not(configured):
    driver, other = configured({"policy": "static"}), configured({"policy": "static"})
    assert status_file(driver) == status_file(other)
    other.instance_id = "another"
    assert status_file(driver) != status_file(other)
