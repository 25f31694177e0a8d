"""Writing: the file is the old one or the new one, and two writers lose nothing."""

import multiprocessing
import stat

import pytest
from filelock import FileLock
from structlog.testing import capture_logs

from paceline.core.state import file as file_module

THOMPSON = {"name": "thompson", "discount": 1.0}


class Killed(KeyboardInterrupt):
    """Stands for the end of the process."""


def test_a_process_killed_before_the_last_step_leaves_the_old_file(kept, monkeypatch):
    before = kept.learn()
    old = kept.path.read_bytes()

    def die(*_):
        raise Killed

    decoder = kept.load()
    decoder.generate("in spain")
    monkeypatch.setattr(file_module.os, "replace", die)
    with pytest.raises(Killed):
        decoder.close()
    monkeypatch.undo()
    assert kept.path.read_bytes() == old
    assert kept.load().policy.state_dict() == before.state_dict()


@pytest.mark.parametrize("length", [0, 1, 200])
def test_a_half_written_new_file_is_neither_read_nor_in_the_way(kept, length):
    before = kept.learn()
    half = kept.path.with_name(f".{kept.path.name}.new")
    half.write_bytes(kept.path.read_bytes()[:length])
    with capture_logs() as logs:
        decoder = kept.load()
    assert decoder.policy.state_dict() == before.state_dict()
    decoder.generate("in spain")
    decoder.close()
    assert kept.load().policy.state_dict() == decoder.policy.state_dict()
    assert not half.exists()
    assert logs == []


def test_a_disk_that_fails_leaves_the_old_file_and_a_warning(kept, monkeypatch):
    kept.learn()
    old = kept.path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    decoder = kept.load()
    decoder.generate("in spain")
    monkeypatch.setattr(file_module.os, "fsync", full)
    with capture_logs() as logs:
        decoder.close()
    assert [(log["event"], "No space left" in log["reason"]) for log in logs] == [("state_not_saved", True)]
    assert kept.path.read_bytes() == old
    monkeypatch.undo()
    decoder.close()
    assert kept.load().policy.state_dict() == decoder.policy.state_dict()


def test_a_lock_that_is_never_let_go_ends_in_a_warning(kept, monkeypatch):
    kept.learn()
    decoder = kept.load()
    decoder.generate("in spain")
    monkeypatch.setattr(file_module, "PATIENCE_S", 0.05)
    with FileLock(f"{kept.path}.lock"), capture_logs() as logs:
        decoder.close()
    assert [log["event"] for log in logs] == ["state_not_saved"]
    assert "could not be acquired" in logs[0]["reason"]


def test_a_link_is_followed_and_permissions_stay(kept):
    kept.learn()
    kept.path.chmod(0o600)
    link = kept.path.with_name("link.json")
    link.symlink_to(kept.path.name)
    kept.learn("in spain", state=str(link))
    assert link.is_symlink()
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600


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


def test_nothing_but_the_file_and_its_lock_is_left_in_the_folder(kept):
    kept.learn()
    names = {file.name for file in kept.path.parent.iterdir()}
    assert names - {f"{kept.path.name}.lock"} == {kept.path.name}
