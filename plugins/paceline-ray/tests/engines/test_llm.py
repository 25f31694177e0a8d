"""vLLM replicas under Ray Serve LLM; where vLLM and paceline-vllm are installed beside Ray."""

import importlib.util
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT_S = 500.0
HERE = Path(__file__).resolve().parent
WEIGHTS = HERE.parents[3] / "backends" / "embedded" / "weights"

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("vllm", "paceline_vllm", "ray")),
        reason="needs vLLM, paceline-vllm and Ray in one environment",
    ),
]


def test_what_two_vllm_replicas_share_is_what_their_clients_were_told(marked):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {"VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    done = subprocess.run(
        [sys.executable, str(HERE / "llm_case.py"), str(WEIGHTS), "2", str(port)],
        env=marked | quiet, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads([line for line in done.stdout.splitlines() if line.startswith('{"status"')][-1])
    (known,) = found["status"]["subjects"]
    told = [answer["metrics"]["speculative_decoding"]["per_step_accepted"] for answer in found["answers"]]
    accepted = sum(value for name, value in known["pool"].items() if name.endswith("/accepted"))
    assert accepted == sum(map(sum, told)) > 0
    assert len(known["replicas"]) == 2
    assert known["about"]["engine"] == "vllm"
