"""Knowledge of the policy is kept by `paceline generate`, however it ends."""

import signal
import time

import pytest

from paceline.core.state.store import StateStore
from paceline.core.trace import read_trace


def learnt(path):
    store = StateStore(path)
    (key,) = store.keys()
    return store.read(key)


def test_a_second_run_goes_on_where_the_first_one_ended(cli, toy):
    state = cli.folder / "learnt.db"
    call = (
        "generate",
        "the",
        "-c",
        toy,
        "--quiet",
        "--set",
        "state=learnt.db",
        "--set",
        "policy={name: online, window: 500}",
    )
    cli.call(*call, code=0)
    entry = learnt(state)
    first = entry["state"]["rounds"]
    assert entry["costs"]["drafts"]
    assert entry["costs"]["verify"]["lengths"]
    cli.call(*call, code=0)
    second = learnt(state)["state"]["rounds"]
    assert len(second) > len(first) > 0
    assert second[: len(first)] == first


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_keeps_what_was_learnt_until_then(cli, slow_toy, number, code):
    settings = ("--set", "state=learnt.db", "--set", "policy={name: online, window: 500}")
    process = cli.start("generate", "the", "-c", slow_toy, "--trace", "run.jsonl", *settings)
    trace = cli.folder / "run.jsonl"
    deadline = time.monotonic() + 30
    while not (trace.exists() and trace.read_text().count('"kind":"round"') > 5):
        assert time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code
    telling = [done for done in read_trace(trace).requests[0].rounds if done.accepted or done.rejected]
    kept = [pair[0] for pair in learnt(cli.folder / "learnt.db")["state"]["rounds"]]
    assert kept[: len(telling)] == [done.accepted for done in telling]
    assert (
        len(kept) - len(telling) <= 1
    )  # a round that was observed when the signal came, and not yet written


def test_a_damaged_file_is_named_on_stderr_with_what_to_do_and_stays(cli, toy):
    (cli.folder / "learnt.db").write_text("damage")
    done = cli.call("generate", "the", "-c", toy, "--set", "state=learnt.db", code=2)
    assert "learnt.db: is no state file" in done.stderr
    assert "name another file" in done.stderr
    assert done.stdout == ""
    assert (cli.folder / "learnt.db").read_text() == "damage"
