"""The commands of paceline take a GGUF file as they take any model."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import paceline


@pytest.fixture
def command(worded, tmp_path):
    if "llama-cpp" not in paceline.Catalogue.load().backends:
        pytest.skip("paceline-llamacpp is on the path and not installed: make test-llamacpp installs it")

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-Im", "paceline.cli", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_a_file_is_a_model_and_a_draft(command, worded):
    said = command(
        "generate",
        "--model",
        str(worded),
        "--draft",
        str(worded),
        "--draft",
        "lookup",
        "hello",
        "-n",
        "9",
        "--json",
    )
    assert said["target"]["backend"] == said["drafts"]["worded-gguf"]["backend"] == "llama-cpp"
    assert len(said["tokens"]) == 9


def test_messages_go_through_the_template_of_the_file(command, worded):
    said = command("generate", "--model", str(worded), "--chat", "hi", "-n", "3", "--json")
    assert said["prompt_tokens"] == len("[user] hi\nanswer:")


def test_the_doctor_tries_the_backend_and_tells_of_the_build(command, worded, tmp_path):
    (tmp_path / "run.yaml").write_text(f"target: {{backend: llama-cpp, model: {worded}}}\ndrafts: {{}}\n")
    said = command("doctor", "--config", "run.yaml", "--json")
    (backend,) = [entry for entry in said["backends"] if entry["name"] == "llama-cpp"]
    assert (backend["problems"], backend["trial"]["problem"]) == ([], None)
    assert backend["trial"]["seconds"] is not None
    assert any("llama.cpp of llama-cpp-python" in remark for remark in said["run"]["remarks"])


def test_bench_runs_the_librarys_own_ways_beside_the_policies(command, worded, tmp_path):
    (tmp_path / "run.yaml").write_text(
        f"target: {{backend: llama-cpp, model: {worded}, context: 256}}\n"
        "drafts: {lookup: {backend: prompt-lookup}}\n"
    )
    (tmp_path / "prompts.jsonl").write_text('{"name": "a", "text": "hello hello hello"}\n')
    said = command(
        "bench", "--config", "run.yaml", "-w", "prompts.jsonl", "-n", "8", "-r", "1", "--json",
        "-p", "auto,llama-cpp-python,llama-cpp-python lookup 2",
    )  # fmt: skip
    assert {"auto", "llama-cpp-python", "llama-cpp-python lookup 2"} <= {row["mode"] for row in said["modes"]}
