"""The command that starts a server is the one that the documentation shows, and is right before it runs."""

import json
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
    assert options("big", "--port", "8001", "--enforce-eager")[1][-3:] == [
        "--port",
        "8001",
        "--enforce-eager",
    ]


def test_a_policy_may_be_a_block_and_a_run_file_a_path(tmp_path):
    block = options("big", "--policy", '{"name": "static", "gamma": 2}')[0]["--additional-config"]
    assert json.loads(block) == {"paceline": {"policy": {"name": "static", "gamma": 2}}}
    (tmp_path / "run.yaml").write_text("policy: thompson\n", encoding="utf-8")
    path = str(tmp_path / "run.yaml")
    assert json.loads(options("big", "--config", path)[0]["--additional-config"]) == {
        "paceline": {"config": path}
    }


@pytest.mark.parametrize(
    ("policy", "message"), [("onlin", "did you mean 'online'"), ("{", "a block as JSON")]
)
def test_a_wrong_policy_is_found_before_a_model_is_loaded(policy, message):
    with pytest.raises(SystemExit, match=message):
        cli.main(["serve", "big", "--policy", policy])


def test_the_command_can_be_shown_ready_for_a_shell(capsys):
    shown = command(capsys, "big")
    assert '--scheduler-cls paceline_vllm.PolicyScheduler --additional-config \'{"paceline"' in shown
