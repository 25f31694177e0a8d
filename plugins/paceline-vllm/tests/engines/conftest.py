"""Engines in processes of their own, each with a limit on its time, and the target's own texts to compare with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE.parents[3] / "backends" / "embedded" / "weights"
LIMIT_S = 240
PROMPTS = [
    [1, 2, 3, 4, 5, 6, 7, 8],
    [100, 200, 300, 400, 100, 200, 300, 400, 100, 200],
    [55, 66, 77, 88, 99, 11, 22],
    [9, 8, 7, 6, 5, 4, 3, 2, 1],
]
POLICIES: dict[str, Any] = {
    "scripted": {"policy": "trial-script"},
    "chaotic": {"policy": "trial-chaos"},
    "static": {"policy": {"name": "static", "gamma": 3}},
    "online": {"policy": "online"},
    "survival": {"policy": "survival"},
    "auto": {"policy": "auto"},
    "raising": {"policy": "trial-breach"},
    "raising-late": {"policy": {"name": "trial-breach", "breach": "raise-in-observe"}, "fallback_gamma": 2},
}
TABLE = {"num_speculative_tokens": 4, "num_speculative_tokens_per_batch_size": [[1, 8, 4]]}
DRAFTS: dict[str, Any] = {
    "draft-model": {"method": "draft_model", "model": str(WEIGHTS / "draft-small"), **TABLE},
    "n-grams": {"method": "ngram", "prompt_lookup_max": 3, "prompt_lookup_min": 1, **TABLE},
}


def run(command: list[str], folder: Path, *, limit_s: int = LIMIT_S) -> str:
    """Run a process and everything it starts within a time limit; return what it printed."""
    log = folder / "log.txt"
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = f"none within {limit_s} s"
        finally:
            stop(process)
    text = log.read_text(encoding="utf-8", errors="replace")
    assert code == 0, f"exit code {code}\n{text[-4000:]}"
    return text


def stop(process: subprocess.Popen[Any]) -> None:
    """End a process and whatever it started, by the id of its group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


@pytest.fixture(scope="session")
def process() -> Callable[..., str]:
    """Return what runs a command within a limit of time."""
    return run


@pytest.fixture(scope="session")
def end_process() -> Callable[..., None]:
    """Return what ends a process with everything it started."""
    return stop


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Any]:
    """Return what runs one engine under several policies."""

    def run_case(speculative: Any, *, max_tokens: int = 40) -> Any:
        folder = tmp_path_factory.mktemp("case")
        asked = {
            "target": str(WEIGHTS / "target"),
            "speculative": speculative,
            "policies": POLICIES,
            "prompts": PROMPTS,
            "max_tokens": max_tokens,
            "ignore_eos": True,
        }
        (folder / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
        run([sys.executable, "-I", str(HERE / "case.py"), "asked.json", "answer.json"], folder)
        return json.loads((folder / "answer.json").read_text(encoding="utf-8"))

    return run_case


@pytest.fixture(scope="session")
def target_alone(case: Callable[[Any], Any]) -> Any:
    """Texts of vLLM without speculation."""
    return case(None)


@pytest.fixture(scope="session", params=list(DRAFTS))
def decoded(request: pytest.FixtureRequest, case: Callable[[Any], Any]) -> tuple[str, Any]:
    """Texts of vLLM with one kind of draft, under every policy."""
    return request.param, case(DRAFTS[request.param])
