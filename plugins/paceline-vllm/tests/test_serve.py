"""The command that starts a server is the one that the documentation shows, and is right before it runs."""

import json
import shlex
import socket
import sys

import pytest

from paceline_vllm import cli


def command(capsys, *words):
    cli.main(["serve", *words, "--show"])
    return capsys.readouterr().out.strip()


def options(*words):
    given, rest = cli._parser().parse_known_args(["serve", *words])
    line = cli.server_command(given, rest)
    return dict(zip(line[3::2], line[4::2], strict=False)), line


def test_it_runs_vllms_server_by_its_module_with_the_policy_and_the_draft():
    found, line = options(
        "big", "--draft", "small", "--policy", "online", "--max-gamma", "3", "--max-num-seqs", "9"
    )
    assert line[:3] == [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    assert (found["--model"], found["--scheduler-cls"]) == ("big", "paceline_vllm.PolicyScheduler")
    assert json.loads(found["--speculative-config"]) == {
        "num_speculative_tokens": 3,
        "method": "draft_model",
        "model": "small",
        "num_speculative_tokens_per_batch_size": [[1, 9, 3]],
    }
    assert json.loads(found["--additional-config"]) == {"paceline": {"policy": "online"}}


def test_without_a_draft_the_prompt_is_looked_up():
    assert json.loads(options("big")[0]["--speculative-config"])["method"] == "ngram"


def test_other_options_are_vllms():
    words = ["--enforce-eager", "--served-model-name", "tiny"]
    assert options("big", *words)[1][-3:] == words


def test_a_policy_may_be_a_block_and_a_run_file_a_path(tmp_path):
    block = options("big", "--policy", '{"name": "static", "gamma": 2}')[0]["--additional-config"]
    assert json.loads(block) == {"paceline": {"policy": {"name": "static", "gamma": 2}}}
    (tmp_path / "run.yaml").write_text("policy: thompson\n", encoding="utf-8")
    path = str(tmp_path / "run.yaml")
    assert json.loads(options("big", "--config", path)[0]["--additional-config"]) == {
        "paceline": {"config": path}
    }


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--policy", "onlin"], 2, "did you mean 'online'"),
        (["--policy", "{"], 2, "a block as JSON"),
        (["--policy", "svip"], 1, "does not fit this engine"),
        (["--max-gamma", "-3"], 2, "expected a whole number, at least 1, found '-3'"),
        (["--max-gamma", "0"], 2, "at least 1"),
        (["--max-num-seqs", "0"], 2, "at least 1"),
        (["--port", "99999"], 2, "at most 65535"),
        (["--grace", "-1"], 2, "at least 0"),
        (["--draft", "/no/such/folder"], 2, "/no/such/folder: there is no such folder"),
        (
            ["--policy", '{"name": "survival", "max_gamma": 8}', "--max-gamma", "4"],
            2,
            "asks for gammas up to 8 and --max-gamma is 4",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_is_found_before_a_model_is_loaded(words, code, message, capsys, monkeypatch):
    monkeypatch.setattr(cli, "run_server", lambda *_: pytest.fail("it was started"))
    with pytest.raises(SystemExit) as left:
        cli.main(["serve", "big", *words])
    assert left.value.code == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("policy", "words", "most"),
    [
        ("survival", [], 4),
        ({"name": "survival", "max_gamma": 8}, [], 8),
        ({"name": "static", "gamma": 6}, [], 6),
        ({"name": "gate", "policy": {"name": "online", "max_gamma": 7}}, [], 7),
        ({"name": "survival", "max_gamma": 3}, ["--max-gamma", "5"], 5),
    ],
    ids=str,
)
def test_vllm_drafts_as_many_tokens_as_the_policy_asks_for(policy, words, most):
    found, _ = options("big", "--policy", policy if isinstance(policy, str) else json.dumps(policy), *words)
    drafting = json.loads(found["--speculative-config"])
    assert drafting["num_speculative_tokens"] == most
    assert drafting["num_speculative_tokens_per_batch_size"] == [[1, 64, most]]


def test_it_listens_where_only_this_machine_reaches_it_and_gives_requests_time_to_end():
    found, _ = options("big")
    assert (found["--host"], found["--port"], found["--shutdown-timeout"]) == ("127.0.0.1", "8000", "30")
    assert found["--middleware"] == "paceline_vllm.admission.Admission"


def test_a_port_that_is_taken_is_not_shared(monkeypatch, capsys):
    monkeypatch.setattr(cli, "run_server", lambda *_: pytest.fail("it was started"))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(SystemExit) as left:
            cli.main(["serve", "big", "--port", str(other.getsockname()[1])])
    assert left.value.code == 1
    assert "another program listens" in capsys.readouterr().err


def test_names_that_clients_may_use_reach_the_server(monkeypatch):
    started = []
    monkeypatch.setattr(cli, "run_server", lambda command, environment: started.append(environment))
    monkeypatch.setattr(cli, "check_port", lambda *_: None)
    cli.main(["serve", "big", "--allowed-host", "a.example", "--allowed-host", "b.example"])
    assert started[0]["PACELINE_ALLOWED_HOSTS"] == "127.0.0.1,a.example,b.example"


def test_the_command_can_be_shown_ready_for_a_shell(capsys):
    shown = command(capsys, "big model")
    name, *words = shlex.split(shown)
    assert name == "PACELINE_ALLOWED_HOSTS=127.0.0.1"
    assert words == options("big model")[1]
