"""`paceline generate` with a model in a folder, and messages in place of a text."""

import json
import shutil

import pytest

from paceline.backends.embedded.config import WEIGHTS


def document(cli, *arguments):
    return json.loads(cli.call("generate", *arguments, "-n", "12", "--json", code=0).stdout)


def test_messages_are_written_by_the_chat_template_and_the_fastest_backend_is_taken(cli, chat_model):
    model = ("--model", str(chat_model))
    written = document(cli, "# system: brief\n# user: add two numbers\ndef ", *model)
    asked = document(cli, "add two numbers", *model, "--system", "brief")
    assert asked["tokens"] == written["tokens"]
    assert asked["prompt_tokens"] == written["prompt_tokens"]
    assert asked["target"]["backend"] == "graph"


def test_a_model_that_only_transformers_runs_is_left_to_it(cli, chat_model, tmp_path):
    folder = tmp_path / "windowed"
    shutil.copytree(chat_model, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}
    (folder / "config.json").write_text(json.dumps(config))
    assert document(cli, "def", "--model", str(folder))["target"]["backend"] == "hf"


def test_drafts_are_folders_words_or_none_and_never_change_the_text(cli, chat_model):
    small = str(WEIGHTS / "draft-small")
    model = ("def add(", "--model", str(chat_model))
    all_of_them = document(cli, *model, "--draft", "lookup", "--draft", "suffix", "--draft", small)
    alone = document(cli, *model, "--draft", "none")
    assert set(all_of_them["drafts"]) == {"lookup", "suffix", "draft-small"}
    assert (alone["drafts"], alone["drafted"]) == ({}, 0)
    assert all_of_them["tokens"] == alone["tokens"]


@pytest.mark.parametrize(
    ("drafts", "message"),
    [
        (("none", "lookup"), "--draft none goes with no other"),
        (("a/small", "b/small"), "would be called 'small'"),
    ],
)
def test_drafts_that_exclude_each_other_are_refused(cli, drafts, message):
    options = [word for draft in drafts for word in ("--draft", draft)]
    assert message in cli.call("generate", "x", *options, code=2).stderr


def test_a_text_that_ends_at_once_points_to_chat(cli, chat_model, tmp_path):
    """Every token ends this one's texts."""
    folder = tmp_path / "silent"
    shutil.copytree(chat_model, folder)
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    ends = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(
        json.dumps(ends | {"eos_token_id": list(range(vocabulary))})
    )
    model = ("--model", str(folder))
    assert "try --chat" in cli.call("generate", "def", *model, code=0).stderr
    assert "try --chat" not in cli.call("generate", "def", *model, "--chat", code=0).stderr
