"""Messages to an operator: the cause and not its wrapping, whose port it is, what this machine lacks."""

import json
import os
import re
import signal
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from paceline import BackendError, Readiness, load_config
from paceline.serving import first_signal
from paceline_ray import lifecycle
from paceline_ray.cli import main

TRACEBACK = """The deployment failed to start 1 times in a row. This may be due to a problem with its constructor.
Error:
ray::ServeReplica:paceline:replica.initialize_and_get_metadata() (pid=1, ip=127.0.0.1)
  File "replica.py", line 1, in initialize
RuntimeError: Traceback (most recent call last):
  File "engine.py", line 2, in build
    import torch
ModuleNotFoundError: No module named 'torch'
"""


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([TRACEBACK, "Failed to update the deployments ['replica']."], "ModuleNotFoundError: No module named 'torch'"),
        (["", "Failed to update the deployments"], "Failed to update the deployments"),
        (["paceline.core.errors.BackendError: no such folder; name one"],
         "paceline.core.errors.BackendError: no such folder; name one"),
        (["", ""], "Ray says no more"),
    ],
)  # fmt: skip
def test_the_cause_is_what_was_raised(messages, said):
    assert lifecycle.cause(messages) == said


@pytest.fixture
def ray_serve(monkeypatch):
    """Ray Serve as far as starting and ending go."""
    found = types.SimpleNamespace()
    monkeypatch.setattr(lifecycle.actor, "ray", lambda module: found)
    return found


def test_a_replica_that_does_not_start_says_why_in_one_line(ray_serve):
    def fails(*_, **__):
        raise RuntimeError("Failed to update the deployments ['replica'].")

    ray_serve.run = fails
    deployment = types.SimpleNamespace(message=TRACEBACK)
    ray_serve.status = lambda: types.SimpleNamespace(
        applications={"paceline": types.SimpleNamespace(deployments={"replica": deployment})}
    )
    with pytest.raises(BackendError, match=r"do not start: ModuleNotFoundError: No module named 'torch'$"):
        lifecycle.start(None)


@pytest.mark.parametrize(("counts", "seconds", "done"), [([3, 1, 0], 10.0, True), ([2] * 9, 0.0, False)])
def test_replicas_finish_what_is_under_way_within_the_grace(ray_serve, counts, seconds, done):
    left = iter(counts)

    class Handle:
        def broadcast(self, name):
            assert name == "finish"
            return types.SimpleNamespace(results=lambda timeout_s: [0, next(left)])

    ray_serve.get_app_handle = lambda name: Handle()
    assert lifecycle.drained(seconds) is done


@pytest.fixture
def answering():
    """A server whose /health says one after the other of some names."""
    names = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"server": names.pop(0) if len(names) > 1 else names[0]}).encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", names
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_port_that_is_shared_with_another_server_is_noticed(answering):
    url, names = answering
    names[:] = ["mine"]
    lifecycle.check_own_server(url, "mine")
    names[:] = ["mine", "mine", "other"]
    with pytest.raises(BackendError, match="another server answers"):
        lifecycle.check_own_server(url, "mine")
    with pytest.raises(BackendError, match="nobody answers"):
        lifecycle.check_own_server("http://127.0.0.1:9", "mine")


def lacking(self, run):
    return Readiness(("torch is missing; install torch",) if self.seed == 99 else ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": {"backend": "toy", "seed": 99}}, "target: torch is missing; install torch$"),
        ({"policy": "svip", "drafts": {"look": {"backend": "prompt-lookup"}}}, "does not fit this engine"),
    ],
    ids=str,
)
def test_what_keeps_a_run_from_starting_is_said_before_anything_starts(
    run, change, message, monkeypatch, capsys, tmp_path, ray_serve
):
    monkeypatch.setattr(type(load_config(run).target), "check_target", lacking)
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps({**run, "policy": "survival", **change}), encoding="utf-8")
    for words in (["serve"], ["batch", str(tmp_path / "prompts.jsonl"), str(tmp_path / "out.jsonl")]):
        (tmp_path / "prompts.jsonl").write_text('{"prompt": "Once"}\n', encoding="utf-8")
        monkeypatch.setattr("sys.argv", ["paceline-ray", *words, "--alone", "--config", str(path)])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 1
        assert re.search(message, capsys.readouterr().err.splitlines()[-1])


@pytest.fixture
def signals():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_the_first_signal_asks_for_an_end_and_the_second_makes_it(signals):
    lifecycle.raise_on_signals()
    with first_signal() as over:
        os.kill(os.getpid(), signal.SIGTERM)
        assert over.wait(5.0)
        with pytest.raises(lifecycle.Stopped) as stop:
            signal.raise_signal(signal.SIGTERM)
    assert stop.value.code == 143


def test_a_command_that_is_stopped_before_it_serves_says_so_by_its_code(monkeypatch, signals):
    def stopped(**_):
        raise lifecycle.Stopped(signal.SIGINT)

    monkeypatch.setattr("paceline_ray.cli.app", stopped)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 130
