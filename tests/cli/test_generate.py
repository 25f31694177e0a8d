"""`paceline generate`."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest

from paceline.backends.toy import Letters, ToyTarget
from paceline.backends.toy_sessions import ToyTargetSession
from paceline.cli.app import run
from paceline.core.trace import read_trace
from paceline.policies.static import StaticPolicy

from .conftest import TOY


def alone(prompt, limit):
    target = ToyTarget(seed=3)
    context = target.codec.encode(prompt)
    for _ in range(limit):
        context.append(target.next(context))
    return context[-limit:]


def test_stdout_gets_the_text_and_nothing_else(cli, toy):
    done = cli.call("generate", "the", "-c", toy, code=0)

    assert ToyTarget().codec.decode(alone("the", 40)) == done.stdout.rstrip("\n")
    assert "40 tokens in" in done.stderr
    assert "policy auto" in done.stderr


def test_the_json_document_tells_all_there_is_to_know(cli, toy):
    found = json.loads(cli.call("generate", "the", "-c", toy, "--json", "--compare", code=0).stdout)

    assert alone("the", 40) == found["tokens"]
    assert ToyTarget().codec.decode(found["tokens"]) == found["text"]
    assert 1 <= found["rounds"] < 40
    assert 0 < found["accepted"] <= found["drafted"]
    assert found["tokens_per_second"] > 0
    assert (found["policy"], found["ended"], found["identical"]) == ("auto", "length", True)
    assert found["failures"] == []
    assert found["speedup_min"] <= found["speedup"] <= found["speedup_max"]


@pytest.mark.parametrize(
    ("given", "policy"), [("static-2", "static"), ("online:window=3", "online"), ("thompson", "thompson")]
)
def test_every_policy_writes_the_same_text(cli, toy, given, policy):
    found = json.loads(cli.call("generate", "the", "-c", toy, "--policy", given, "--json", code=0).stdout)

    assert (policy, alone("the", 40)) == (found["policy"], found["tokens"])


def test_a_prompt_may_come_from_a_pipe_or_a_file(cli, toy):
    expected = cli.call("generate", "the", "-c", toy, code=0).stdout
    prompt = cli.file("prompt.txt", "the\n")

    assert expected == cli.call("generate", "-c", toy, stdin="the\n", code=0).stdout
    assert expected == cli.call("generate", "-", "-c", toy, stdin="the\n", code=0).stdout
    assert expected == cli.call("generate", "-f", prompt, "-c", toy, code=0).stdout


def test_options_change_the_run(cli, toy):
    call = f"generate the -c {toy} --json -n 7 --set policy.name=static --set policy.gamma=2".split()
    found = json.loads(cli.call(*call, code=0).stdout)

    assert (len(found["tokens"]), found["policy"]) == (7, "static")


def test_a_text_ends_where_it_holds_a_stop_string(cli, toy):
    text = ToyTarget().codec.decode(alone("the", 40))
    late, early = text[20:24], text[10:14]
    end = min(text.index(string) for string in (late, early)) + 4
    call = ("generate", "the", "-c", toy, "--stop", late, "--stop", early)

    assert text[:end] == cli.call(*call, code=0).stdout.removesuffix("\n")
    found = json.loads(cli.call(*call, "--json", "--compare", code=0).stdout)
    assert (found["text"], found["ended"], found["identical"]) == (text[:end], "stop", True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "x", "--policy", "onlin"], "did you mean 'online'?"),
        (["generate", "x", "--policy", "online:windw=3"], "windw"),
        (["generate", "x", "--set", "generation.max_new_token=3"], "did you mean 'max_new_tokens'?"),
        (["generate", "x", "--set", "nonsense"], "key=value"),
        (["generate", "x", "-c", "missing.yaml"], "missing.yaml"),
        (["generate", "x", "-f", "prompt.txt"], "not both"),
        (["generate", "x", "-n", "0"], "--max-new-tokens"),
        (["generate", "x", "--stop", ""], "generation.stop.0"),
        (["generate", "-f", "missing.txt"], "missing.txt: no such file; give"),
        (["generate", ""], "is empty"),
        (["generate", "--nonsense"], "No such option"),
        (["nonsense"], "No such command"),
        (["bench", "--prompts", "missing.jsonl"], "missing.jsonl"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(cli, arguments, message):
    done = cli.call(*arguments, code=2, COLUMNS="200", NO_COLOR="1")

    assert message in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_wrong_file_is_named_with_its_line(cli):
    wrong = cli.file("wrong.yaml", "target: {backend: toy}\npolicy:\n  name: online\n  windw: 5\n")

    assert "wrong.yaml:4: policy.windw" in cli.call("generate", "x", "-c", wrong, code=2).stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_being_stopped_leaves_the_text_so_far_and_a_readable_trace(cli, slow_toy, number, code):
    process = cli.start("generate", "the", "-c", slow_toy, "--trace", "run.jsonl")
    trace = cli.folder / "run.jsonl"
    deadline = time.monotonic() + 30
    while not (trace.exists() and trace.read_text().count('"kind":"round"') > 5):
        assert time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    text, said = process.communicate(timeout=30)

    request = read_trace(trace).requests[0]
    tokens = [token for done in request.rounds for token in done.tokens]
    assert code == process.returncode
    assert ToyTarget().codec.decode(tokens).startswith(text.rstrip("\n"))
    assert len(text) > 5
    assert (request.ended, request.complete) == (None, True)
    assert "Traceback" not in said


def test_a_failing_backend_is_one_message_and_exit_code_1(cli):
    wrong = cli.file("wrong.yaml", "target: {backend: hf, model: ./nowhere, local_files_only: true}\n")

    done = cli.call("generate", "x", "-c", wrong, code=1)

    assert done.stderr.strip().splitlines()[-1].startswith("paceline: hf: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("as_json", [False, True])
def test_a_target_that_fails_leaves_the_text_so_far_and_is_named(toy, monkeypatch, capsys, as_json):
    verify, calls = ToyTargetSession.verify, []

    def fails(session, proposal):
        calls.append(proposal)
        if len(calls) > 5:
            raise RuntimeError("out of memory")
        return verify(session, proposal)

    monkeypatch.setattr(ToyTargetSession, "verify", fails)
    code = run(["generate", "the", "-c", str(toy), *(["--json"] if as_json else [])])
    out, err = capsys.readouterr()

    assert code == 1
    assert "paceline: target ToyTargetSession" in err
    assert "out of memory" in err
    text = json.loads(out)["text"] if as_json else out.rstrip("\n")
    assert len(text) >= 5
    assert ToyTarget().codec.decode(alone("the", 40)).startswith(text)


def test_a_part_that_fails_and_is_gone_on_without_is_told_in_the_document(toy, monkeypatch, capsys):
    def fails(policy, done):
        raise ZeroDivisionError("no rounds")

    monkeypatch.setattr(StaticPolicy, "observe", fails)
    call = ["generate", "the", "-c", str(toy), "-p", "static", "--set", "on_policy_error=fallback", "--json"]
    assert run(call) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["tokens"] == alone("the", 40)
    (failure,) = document["failures"]
    assert failure["part"] == "policy StaticPolicy (paceline.policies.static)"
    assert failure["round"] == 0
    assert "ZeroDivisionError" in failure["error"]
    assert __file__ in failure["place"]
    assert "policy_failed" in err


def test_a_prompt_can_be_put_as_a_message_to_a_target_with_a_chat_template(toy, monkeypatch, capsys):
    call = ["generate", "the", "-c", str(toy), "--chat", "--json"]
    assert run(call) == 1
    assert (
        "the target has no chat template, so it takes no messages; give the prompt as text"
        in capsys.readouterr().err
    )

    def template(codec, messages, options):
        assert (messages, options) == ([{"role": "user", "content": "the"}], {})
        return codec.encode("user the")

    monkeypatch.setattr(Letters, "encode_chat", template, raising=False)
    assert run(call) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == alone("user the", 40)


def test_a_reader_that_goes_away_is_no_reason_to_complain(cli, slow_toy):
    process = cli.start("generate", "the", "-c", slow_toy, "--quiet")
    process.stdout.read(5)
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()

    assert (process.wait(timeout=30), said) == (1, "")


@pytest.mark.parametrize("stdin", ["closed", "empty"])
def test_without_a_prompt_and_without_a_terminal_the_way_out_is_told(cli, toy, stdin):
    close = "import os, sys; os.close(0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    call = ["-Im", "paceline.cli", "generate", "-c", str(toy)]
    call = ["-Ic", close, *call] if stdin == "closed" else call

    done = subprocess.run(
        [sys.executable, *call], input="", capture_output=True, text=True, env=cli.environment(), check=False
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert f"stdin is {stdin}" in done.stderr
    assert "Traceback" not in done.stderr


def test_quiet_leaves_stderr_empty(cli, toy):
    done = cli.call("generate", "the", "-c", toy, "--quiet", "--compare", code=0)

    assert done.stderr == ""
    assert done.stdout


def test_the_traceback_of_an_error_is_shown_when_asked_for(cli):
    wrong = cli.file("wrong.yaml", "target: {backend: toy}\ndrafts: {d: {backend: toy}}\npolicy: onlin\n")

    done = cli.call("generate", "x", "-c", wrong, PACELINE_DEBUG="1", code=1)

    assert "Traceback" in done.stderr


def test_the_demo_ends_with_its_rounds_in_rows(cli, toy):
    cli.file("run.yaml", TOY.replace("good:", "bad: {backend: toy, agreement: 0.1}\n  good:"))
    done = cli.call("generate", "abc", "--demo", "--no-compare", "-c", toy, "-n", 300, code=0)
    found = json.loads(cli.call("generate", "abc", "-c", toy, "-n", 300, "--json", code=0).stdout)
    assert len(found["tokens"]) == 300
    lines = done.stderr.splitlines()
    begin = next(place for place, line in enumerate(lines) if line.startswith("round by round ("))
    assert "b bad, g good, - plain decoding" in lines[begin]
    rows = [line[11:] for line in lines[begin + 1 :] if line.startswith("  ")]
    drafts, gammas, accepted = ("".join(rows[place::3]) for place in range(3))
    rounds = int(re.search(r"300 tokens in (\d+) rounds", done.stderr)[1])
    assert len(drafts) == len(gammas) == len(accepted) == rounds
    assert {draft for draft, gamma in zip(drafts, gammas, strict=True) if gamma == "0"} <= {"-"}
    assert 300 - rounds <= sum(int(count, 36) for count in accepted.replace(" ", "")) <= 300
    assert max(len(line) for line in lines[begin : begin + 4]) <= 80
