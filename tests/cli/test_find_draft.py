"""`paceline find-draft` as a user runs it."""

import json
import signal
import time

import pytest
import yaml

PROMPTS = "".join(
    json.dumps({"text": text, "id": text}) + "\n" for text in ("abc", "bcd", "cde", "def", "efg", "fgh")
)
TOY = "target: {backend: toy, step_s: 0.002}\ndrafts: {good: {backend: toy, agreement: 0.95}}\n"


@pytest.fixture
def search(cli):
    prompts, config = cli.file("prompts.jsonl", PROMPTS), cli.file("toy.yaml", TOY)
    return ("find-draft", "-c", config, "--prompts", prompts, "-n", 20)


def test_it_measures_the_drafts_and_writes_a_run_file_that_runs(cli, search):
    found = json.loads(cli.call(*search, "--json", code=0).stdout)

    assert {mode["mode"] for mode in found["modes"]} >= {
        "plain",
        "with good",
        "with lookup",
        "with good + suffix",
    }
    assert all(mode["differing"] == 0 for mode in found["modes"])
    text = (cli.folder / "run.yaml").read_text()
    assert found["choice"]["advice"].split()[0] in text
    assert list(yaml.safe_load(text)["drafts"]) == found["choice"]["drafts"]
    assert json.loads(cli.call("generate", "abc", "-c", "run.yaml", "--json", code=0).stdout)["text"]


def test_a_run_file_that_is_there_is_kept(cli, search):
    cli.file("run.yaml", "# mine\n")
    assert "is there already; replace it with --force" in cli.call(*search, code=2).stderr
    assert (cli.folder / "run.yaml").read_text() == "# mine\n"


def test_each_search_has_a_file_of_its_own(cli, search):
    cli.call(*search, "--minutes", "0", code=1)
    ((path, text),) = [(path, path.read_bytes()) for path in (cli.folder / "runs").iterdir()]
    cli.call(*search, "--minutes", "0", "--set", "target.seed=4", code=1)
    assert len([*(cli.folder / "runs").iterdir()]) == 2
    assert path.read_bytes() == text


def test_plain_decoding_is_an_honest_outcome(cli, search):
    cli.file("toy.yaml", "target: toy\ndrafts: {bad: {backend: toy, agreement: 0.0, step_s: 0.001}}\n")
    done = cli.call(*search, "--out", "plain.yaml", code=0)
    assert "Nothing pays" in done.stdout
    assert yaml.safe_load((cli.folder / "plain.yaml").read_text())["drafts"] == {}


def test_the_time_it_may_take_ends_it_after_a_prompt(cli, search):
    done = cli.call(*search, "--minutes", "0", "--json", code=1)
    found = json.loads(done.stdout)
    assert {run["prompt"] for run in found["runs"]} == {"abc"}
    assert found["choice"] is None
    assert "no choice from fewer than 5 prompts" in done.stderr
    assert not (cli.folder / "run.yaml").exists()


def test_a_model_without_a_chat_template_goes_on_with_texts(cli):
    config = cli.file("toy.yaml", TOY)
    done = cli.call("find-draft", "-c", config, "-n", 4, "--minutes", "0", code=1)
    assert "no chat template, so the prompts are those of 'shipped'" in done.stderr


def test_an_interrupted_search_goes_on_with_the_same_command(cli, search):
    cli.file("toy.yaml", TOY.replace("0.002", "0.02"))
    process = cli.start(*search, "--json")
    patience = time.monotonic() + 50
    while not any(b'"kind":"block"' in path.read_bytes() for path in (cli.folder / "runs").glob("*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < patience
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    text, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from the last prompt in runs/find-draft-toy-prompts-" in errors
    assert not (cli.folder / "run.yaml").exists()
    before = json.loads(text)["runs"]
    assert before
    done = cli.call(*search, "--json", code=0)
    assert "were in runs/find-draft-toy-prompts-" in done.stderr
    assert all(run in json.loads(done.stdout)["runs"] for run in before)
    assert (cli.folder / "run.yaml").exists()
