"""`paceline bench` as a user runs it: everything at once, several drafts, texts that vary, decisions."""

import json

import pytest

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
    call = (
        "bench",
        "-c",
        config,
        "--prompts",
        prompts,
        "-p",
        "static-2",
        "-r",
        1,
        "-n",
        70,
        "--only-varying",
    )
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
