"""`paceline record` and `paceline export`, as a user runs them."""

import json
import re
import signal
import time

import pytest
from pyarrow import parquet

from paceline.lab.recording.reader import read_recording

PROMPTS = "".join(
    json.dumps({"id": f"p{n}", "kind": "ab"[n % 2], "text": f"prompt number {n}"}) + "\n" for n in range(4)
)
QUICK = ("--longest", "4", "--measure", "static-2")


@pytest.fixture
def prompts(cli):
    return cli.file("prompts.jsonl", PROMPTS)


def test_a_recording_is_made_and_what_comes_next_is_said(cli, toy, prompts):
    done = cli.call("record", "-c", toy, "-w", prompts, *QUICK, code=0)
    path = cli.folder / "runs" / "recording.jsonl.zst"
    recording = read_recording(path)
    assert recording.complete
    assert recording.texts.names() == ("p0", "p1", "p2", "p3")
    assert recording.header.run["workload"] == str(prompts)
    assert all(len(text.tokens) == 40 for text in recording)
    assert all(text.prompt is None for text in recording)
    assert [one.policy["gamma"] for one in recording.measured] == [2] * 4
    assert "4 texts recorded in runs/recording.jsonl.zst" in done.stdout
    assert "Next: paceline replay --policies all" in done.stdout
    assert "draft good" in done.stdout
    # No bar where stderr is no terminal, but a line a text.
    first, *others = done.stderr.splitlines()
    assert first == "paceline: text 1 of 4: p0"
    for number, line in enumerate(others, 2):
        told = rf"paceline: text {number} of 4: p{number - 1}, [\d.]+ tok/s, about 0:00:\d\d left"
        assert re.fullmatch(told, line)


def test_a_finished_recording_is_not_replaced_without_being_told_to(cli, toy, prompts):
    command = ("record", "-c", toy, "-w", prompts, "--limit", 1, "-n", 20, "-o", "r.jsonl", *QUICK)
    cli.call(*command, code=0)
    before = (cli.folder / "r.jsonl").read_bytes()
    done = cli.call(*command, code=1)
    assert (
        done.stderr
        == "paceline: r.jsonl: a finished recording is there; use --force to replace it, or -o for another file\n"
    )
    assert (cli.folder / "r.jsonl").read_bytes() == before
    cli.call(*command, "--force", code=0)
    assert (cli.folder / "r.jsonl").read_bytes() != before


def test_a_recording_cut_short_by_a_limit_is_finished_without_it(cli, toy, prompts):
    command = ("record", "-c", toy, "-w", prompts, "-n", 20, "-o", "r.jsonl", *QUICK)
    cli.call(*command, "--limit", 2, code=0)
    done = cli.call(*command, code=0)
    assert "4 texts recorded in r.jsonl" in done.stdout
    assert "2 of them before" in done.stdout
    assert read_recording(cli.folder / "r.jsonl").texts.names() == ("p0", "p1", "p2", "p3")
    done = cli.call(*command, "--limit", 3, code=1)
    assert "a finished recording is there" in done.stderr
    done = cli.call(*command, "--limit", 3, "--set", "generation.seed=1", code=1)
    assert "a finished recording is there" in done.stderr


def test_the_json_document_says_what_was_recorded(cli, toy, prompts):
    done = cli.call(
        "record", "-c", toy, "-w", prompts, "--limit", 2, "-o", "r.jsonl", *QUICK, "--json", code=0
    )
    found = json.loads(done.stdout)
    assert (found["kind"], found["path"], found["texts"], found["before"]) == ("recorded", "r.jsonl", 2, 0)
    assert found["checks"]["checked"] > 0
    assert found["checks"]["differed"] == 0
    assert set(found["costs"]["drafts"]) == {"good"}


def test_options_change_what_is_recorded(cli, toy, prompts):
    options = [
        "--limit",
        "1",
        "-n",
        "12",
        "--no-signals",
        "--measure",
        "none",
        "--keep-prompts",
        "--drafts",
        "lookup,good",
    ]
    cli.call("record", "-c", toy, "-w", prompts, "-o", "r.jsonl", "--longest", 3, *options, code=0)
    recording = read_recording(cli.folder / "r.jsonl")
    text = next(iter(recording))
    assert (recording.header.longest, list(text.drafts), len(text.tokens)) == (3, ["lookup", "good"], 12)
    assert len(text.prompt) == text.prompt_tokens
    assert not any(starts.signals for starts in text.drafts.values())
    assert recording.measured == ()


def test_drawn_tokens_are_recorded_with_their_chances(cli, toy, prompts):
    options = ("--limit", 1, "-n", 12, "--temperature", 1.0, "--seed", 5)
    cli.call("record", "-c", toy, "-w", prompts, "-o", "r.jsonl", *options, *QUICK, code=0)
    recording = read_recording(cli.folder / "r.jsonl")
    assert recording.header.mode == "sampled"
    assert recording.header.run["config"]["generation"]["seed"] == 5
    assert next(iter(recording)).drafts["good"].acceptance_probs is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-w", "nowhere.jsonl"), "nowhere.jsonl"),
        (("-w", "shiped"), "did you mean 'shipped'"),
        (("--drafts", "nothing-like-it"), "nothing-like-it"),
        (("--measure", "onlin"), "onlin"),
        (("--set", "drafts={}"), "no draft"),
    ],
)
def test_wrong_usage_is_told_before_a_model_is_loaded(cli, toy, options, message):
    done = cli.call("record", "-c", toy, *options, code=2)
    assert message in done.stderr
    assert not (cli.folder / "runs").exists()


def test_an_interrupted_recording_goes_on_with_the_same_command(cli, prompts):
    slow = "target: {backend: toy, step_s: 0.004}\ndrafts: {good: {backend: toy}}\ngeneration: {max_new_tokens: 10}\n"
    command = ("record", "-c", cli.file("slow.yaml", slow), "-w", prompts, "-o", "r.jsonl", *QUICK)
    process = cli.start(*command)
    path, patience = cli.folder / "r.jsonl", time.monotonic() + 50
    while not (path.exists() and b'"kind":"text"' in path.read_bytes()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < patience
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    told = "paceline: interrupted; the same command goes on from the last text in r.jsonl"
    assert errors.splitlines()[-1] == told
    before = len(read_recording(path).texts.names())
    assert 1 <= before < 4
    done = cli.call(*command, code=0)
    assert "4 texts recorded in r.jsonl" in done.stdout
    assert f"{before} of them before" in done.stdout
    assert read_recording(path).complete


def test_a_recording_is_exported_beside_itself(cli, toy, prompts):
    cli.call("record", "-c", toy, "-w", prompts, "--limit", 1, "-n", 12, "-o", "r.jsonl.zst", *QUICK, code=0)
    done = cli.call("export", "r.jsonl.zst", code=0)
    assert done.stdout == "12 rows written to r.parquet\n"
    assert parquet.read_table(cli.folder / "r.parquet").num_rows == 12


def test_what_is_no_recording_is_not_exported(cli, toy):
    cli.call("generate", "a prompt", "-c", toy, "--set", "trace=t.jsonl", code=0)
    done = cli.call("export", "t.jsonl", code=1)
    assert "t.jsonl:1: this trace holds rounds as they were decided" in done.stderr
    assert not (cli.folder / "t.parquet").exists()


def test_a_prompt_that_the_target_cannot_read_is_named_with_its_file(cli, toy):
    prompts = cli.file("ids.jsonl", '{"tokens": [1, 2]}\n{"id": "odd", "tokens": [99999]}\n')
    done = cli.call("record", "-c", toy, "-w", prompts, code=1)
    assert "ids.jsonl:2: the prompt 'odd': the prompt holds 99999; tokens are 0 to" in done.stderr


def test_passes_that_no_requests_share_are_not_timed(cli, toy):
    done = cli.call("record", "-c", toy, "--limit", 1, "-n", 8, "--batch", "2,4", "-o", "r.jsonl", code=1)
    assert "shares no passes between requests" in done.stderr
    done = cli.call("record", "-c", toy, "--batch", "1", "-o", "r.jsonl", code=2)
    assert "numbers of prompts from 2 to 256" in done.stderr
