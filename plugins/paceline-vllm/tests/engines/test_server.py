"""The documented command starts an OpenAI server under a policy; a client sees its text, metrics what was chosen."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from paceline import read_trace

pytestmark = pytest.mark.engine
WEIGHTS = Path(__file__).resolve().parents[4] / "backends" / "embedded" / "weights"
READY_S = 400


def ask(address, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory, end_process):
    """Start the server as the README says, on a free port; end it and all it started afterwards."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "run.yaml").write_text("policy: survival\ntrace: rounds.jsonl\n", encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        "serve",
        str(WEIGHTS / "target"),
        "--draft",
        str(WEIGHTS / "draft-small"),
        "--config",
        "run.yaml",
    ]
    words += [
        "--max-num-seqs",
        "8",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--served-model-name",
        "tiny",
    ]
    words += ["--dtype", "float32", "--enforce-eager", "--max-model-len", "256"]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    log = folder / "log.txt"
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("paceline-vllm")), *words],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, process, log)
        yield address, folder, process
    finally:
        end_process(process)


def _wait(address, process, log):
    for _ in range(READY_S):
        try:
            ask(address, "/health")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert process.poll() is None, log.read_text(encoding="utf-8")[-4000:]
            time.sleep(1.0)
        else:
            return
    pytest.fail(f"not ready within {READY_S} s\n{log.read_text(encoding='utf-8')[-4000:]}")


def completion(address, **more):
    body = {"model": "tiny", "prompt": "Once upon a time", "max_tokens": 60, "temperature": 0.0, **more}
    return ask(address, "/v1/completions", body)


def counted(address, name):
    found = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", ask(address, "/metrics"), re.MULTILINE)
    return sum(map(float, found))


def test_a_client_is_answered_with_the_same_text_every_time(server):
    address, _, _ = server
    texts = {json.loads(completion(address))["choices"][0]["text"] for _ in range(3)}
    assert len(texts) == 1
    assert texts != {""}


def test_a_text_streams_to_the_same_end(server):
    address, _, _ = server
    whole = json.loads(completion(address))["choices"][0]["text"]
    lines = completion(address, stream=True).splitlines()
    pieces = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert "".join(piece["choices"][0]["text"] for piece in pieces) == whole
    assert len(pieces) > 3


def test_the_metrics_say_which_gammas_were_chosen_and_agree_with_vllms(server):
    address, _, _ = server
    completion(address)
    time.sleep(2.5)  # the counters are handed over once a second, and read at a step
    completion(address, max_tokens=4)
    time.sleep(0.5)
    assert counted(address, "paceline_steps") > 10
    assert counted(address, "paceline_policy_failed") == 0
    for ours, theirs in (("drafted", "draft"), ("accepted", "accepted")):
        found = counted(address, f"paceline_{ours}_tokens_total")
        assert found == counted(address, f"vllm:spec_decode_num_{theirs}_tokens_total")
        assert found > 0


def test_the_rounds_are_in_the_trace_that_the_run_file_names(server):
    address, folder, _ = server
    completion(address, max_tokens=20)
    trace = read_trace(folder / "rounds.jsonl")
    assert (trace.run["engine"], trace.run["latency"], trace.run["policy"]["name"]) == (
        "vllm",
        "fused",
        "survival",
    )
    assert trace.run["hardware"]
    assert trace.run["target"] == str(WEIGHTS / "target")
    last = trace.requests[-1]
    assert sum(done.emitted for done in last.rounds) == 20
    assert any(done.plan.gamma for done in last.rounds)


def test_a_server_that_is_told_to_end_finishes_what_is_under_way_and_leaves_nothing(server):
    """The last test: it ends the server."""
    address, folder, process = server
    with ThreadPoolExecutor(3) as clients:
        told = [clients.submit(completion, address, max_tokens=180, ignore_eos=True) for _ in range(3)]
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        with pytest.raises((urllib.error.URLError, ConnectionError)) as refused:
            completion(address, max_tokens=1)
        assert getattr(refused.value, "code", 503) == 503
        if isinstance(refused.value, urllib.error.HTTPError):
            refused.value.close()
        assert [json.loads(one.result())["usage"]["completion_tokens"] for one in told] == [180] * 3
    assert process.wait(60.0) == 0
    assert list((folder / "cache" / "paceline" / "vllm").iterdir()) == []
    assert all(request.complete for request in read_trace(folder / "rounds.jsonl").requests)


def test_a_fault_of_the_engine_is_the_last_line(tmp_path, process):
    empty = tmp_path / "no-weights"
    empty.mkdir()
    for path in (WEIGHTS / "target").iterdir():
        if path.suffix != ".safetensors":
            (empty / path.name).symlink_to(path)
    words = [
        "serve",
        str(empty),
        "--policy",
        "static",
        "--dtype",
        "float32",
        "--enforce-eager",
        "--gpu-memory-utilization",  # of the machine's, on a CPU: vLLM refuses to start where less than this is free
        "0.2",
        "--port",
        "8766",
    ]
    with pytest.raises(AssertionError, match=r"exit code 1"):
        process([str(Path(sys.executable).with_name("paceline-vllm")), *words], tmp_path)
    last = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()[-1]
    assert last.startswith("paceline-vllm: vLLM's server ended with code 1: ")
    assert "weights" in last
