"""`paceline bench` as a user runs it: everything at once, several drafts, texts that vary, decisions."""

import json
import signal
import time

import pytest

from paceline.lab.results import Results
from paceline.lab.results_file import ResultsWriter

PROMPTS = "".join(json.dumps({"text": text, "id": text}) + "\n" for text in ("abc", "bcd", "cde"))


@pytest.fixture
def prompts(cli):
    return cli.file("prompts.jsonl", PROMPTS)


def test_one_word_runs_every_policy(cli, toy, prompts):
    call = ("bench", "-c", toy, "--prompts", prompts, "-p", "all", "-r", 1, "-n", 12, "--json")
    found = json.loads(cli.call(*call, code=0).stdout)
    listed = json.loads(cli.call("plugins", "--json", code=0).stdout)

    installed = {one["name"] for one in listed["policies"]} - {"static"}
    assert installed == (installed & {one["mode"] for one in found["modes"]}) | found["left_out"].keys()
    assert found["failed"] == {}
    assert all(one["differing"] == 0 for one in found["modes"])


def test_texts_of_a_bench_go_on_after_a_stop_string(cli, toy, prompts):
    call = ("bench", "-c", toy, "--prompts", prompts, "-p", "online", "-r", 1, "-n", 12, "--json")
    whole = json.loads(cli.call(*call, code=0).stdout)
    found = json.loads(cli.call(*call, "--set", 'generation.stop=["e", "a", " "]', code=0).stdout)

    assert [one["tokens"] for one in found["runs"]] == [one["tokens"] for one in whole["runs"]]
    assert found["config"]["generation"]["stop"] == []


def test_drafts_can_be_added_for_policies_that_choose(cli, toy, prompts):
    call = ("bench", "-c", toy, "--prompts", prompts, "-r", 1, "-n", 12, "--json", "--drafts", "good,lookup")
    found = json.loads(cli.call(*call, code=0).stdout)

    assert list(found["config"]["drafts"]) == ["good", "lookup"]
    assert "static-4:draft=lookup" in {one["mode"] for one in found["modes"]}
    assert found["over_best_static"].keys() == {one["mode"] for one in found["modes"]} - {
        found["best_static"]
    }
    best = next(one for one in found["modes"] if one["mode"] == found["best_static"])
    assert found["best_static_speedup"] == best["speedup"]


def test_what_was_left_out_is_told_with_the_reason(cli, prompts):
    config = cli.file("mixed.yaml", "target: toy\ndrafts: {lookup: prompt-lookup, good: toy}\n")
    done = cli.call("bench", "-c", config, "--prompts", prompts, "-p", "all", "-r", 1, "-n", 8, code=0)

    assert "was left out: policy" in done.stderr
    assert "'lookup' does not deliver" in done.stderr


def test_texts_that_loop_are_marked_and_can_be_left_out(cli, prompts):
    # The toy's text varies; where every context ends a text, the text is its end token alone, which varies too.
    config = cli.file("toy.yaml", "target: {backend: toy, seed: 3}\ndrafts: {good: toy}\n")
    call = f"bench -c {config} --prompts {prompts} -p static-2 -r 1 -n 70 --only-varying".split()
    found = json.loads(cli.call(*call, "--json", code=0).stdout)

    assert found["settings"]["only_varying"] is True
    assert [(one["loops"], one["repeats"]) for one in found["prompts"]] == [(False, False)] * 3
    assert "only the 3 of 3 texts that vary" in cli.call(*call, code=0).stdout


def test_decisions_are_timed_without_a_model(cli):
    found = json.loads(
        cli.call("bench", "--decisions", "-p", "static,online:window=5", "--json", code=0).stdout
    )

    assert [(one["policy"], one["drafts"]) for one in found["decisions"]] == [
        ("static", 1),
        ("static", 2),
        ("online:window=5", 1),
        ("online:window=5", 2),
    ]
    assert all(0 < one["plan"]["median"] <= one["plan"]["p90"] for one in found["decisions"])
    assert "microseconds" in cli.call("bench", "--decisions", "-p", "static", code=0).stdout


@pytest.mark.parametrize("option", [("--limit", 3), ("--prompts", "x.jsonl"), ("--drafts", "small")])
def test_options_that_need_a_model_do_not_go_with_decisions(cli, option):
    done = cli.call("bench", "--decisions", *option, code=2)

    assert f"leave out {option[0]}" in done.stderr


@pytest.mark.parametrize("command", [("bench", "--prompts"), ("record", "--workload")])
def test_a_conversation_for_a_target_without_chat_template_is_told_with_its_line(cli, toy, command):
    line = json.dumps({"messages": [{"role": "user", "content": "abc"}]})
    prompts = cli.file("chat.jsonl", f"{PROMPTS}{line}\n")
    done = cli.call(*command, prompts, "-c", toy, code=1)

    assert "chat.jsonl:4: the prompt 'line-4': the target has no chat template" in done.stderr


def test_an_interrupted_bench_goes_on_with_the_same_command(cli, prompts):
    slow = "target: {backend: toy, step_s: 0.004}\ndrafts: {good: {backend: toy}}\ngeneration: {max_new_tokens: 20}\n"
    command = ("bench", "-c", cli.file("slow.yaml", slow), "-w", prompts, "-p", "static-2", "-r", 4, "--json")
    process = cli.start(*command)
    path, patience = cli.folder / "runs" / "bench.jsonl", time.monotonic() + 50
    while not (path.exists() and b'"kind":"block"' in path.read_bytes()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < patience
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    text, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    told = "paceline: interrupted; the same command goes on from the last prompt in runs/bench.jsonl"
    assert errors.splitlines()[-1] == told
    before = json.loads(text)["runs"]
    assert 2 <= len(before) < 24
    done = cli.call(*command, code=0)
    assert f"{len(before) // 2} of 12 runs over a prompt were in runs/bench.jsonl already" in done.stderr
    runs = json.loads(done.stdout)["runs"]
    assert len(runs) == 24
    assert all(run in runs for run in before)
    assert Results.read(path).complete
    assert "already" not in cli.call(*command, code=0).stderr


def test_a_shared_machine_is_told(cli, toy, prompts, run_here, monkeypatch, capsys):
    monkeypatch.setattr("paceline.lab.bench.summary.waiting", lambda _uses: 0.6)
    assert run_here("bench", "-c", toy, "-w", prompts, "-p", "static-2", "-r", 1, "-n", 8) == 0
    shown = capsys.readouterr().out
    assert "! the machine was shared: for 60% of the time this process waited for a core" in shown


def test_a_bench_does_not_go_on_with_another_one(cli, toy, prompts, run_here, monkeypatch, capsys):
    command = ["bench", "-c", toy, "-w", prompts, "-r", 1, "-n", 8, "-p"]
    with monkeypatch.context() as patch:
        patch.setattr(ResultsWriter, "end", lambda _writer: None)
        assert run_here(*command, "static-2") == 0
    named = ["--results", "runs/bench.jsonl"]
    assert run_here(*command, "static-3", *named) == 2
    assert (
        "runs/bench.jsonl: it holds an interrupted bench of another run, bench, policies, code differ; replace"
        in capsys.readouterr().err
    )
    assert run_here(*command, "static-3") == 0
    told = capsys.readouterr().err
    assert (
        "runs/bench.jsonl is replaced: it holds an interrupted bench of another run, bench, policies, code"
        in told
    )
    assert Results.read("runs/bench.jsonl").policies() == ["plain", "static-3"]
    assert run_here(*command, "static-2", *named, "--force") == 0


def test_batches_are_compared_with_plain_decoding_of_as_many(cli, toy, prompts):
    call = ("bench", "-c", toy, "--prompts", prompts, "-p", "static-2,auto", "-r", 1, "-n", 12)
    found = json.loads(cli.call(*call, "--batch", "1,2", "--json", code=0).stdout)
    assert found["kind"] == "batches"
    assert [each["rows"] for each in found["batches"]] == [1, 2]
    for each in found["batches"]:
        assert [one["mode"] for one in each["modes"]] == ["plain", "static-2", "auto"]
        assert {one["tokens"] for one in each["runs"]} == {12 * each["rows"]}
        assert all(one["differing"] == 0 for one in each["modes"])
        assert each["modes"][0]["speedup"]["value"] == 1.0
    shown = cli.call(*call, "--batch", "2", code=0).stdout
    assert "2 at once" in shown
    assert "static-2" in shown


@pytest.mark.parametrize("sizes", ["0", "two", "2,2", "1,999", ""])
def test_numbers_of_prompts_at_once_that_are_none_are_refused(cli, toy, prompts, sizes):
    done = cli.call("bench", "-c", toy, "--prompts", prompts, "--batch", sizes, code=2)
    assert "--batch takes numbers of prompts from 1 to 256, each once" in done.stderr


def test_options_of_single_prompts_do_not_go_with_batches(cli, toy, prompts):
    done = cli.call("bench", "-c", toy, "--prompts", prompts, "--batch", 2, "--only-varying", code=2)
    assert "leave out --only-varying" in done.stderr
