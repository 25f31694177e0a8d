"""`paceline train-draft` as a user runs it."""

import json
import random
import time

import pytest

pytest.importorskip("torch")

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def command(cli):
    """Return a command that trains a draft for a tiny target, all but the minutes."""
    folder = cli.folder / "target"
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    LlamaForCausalLM(
        LlamaConfig(vocab_size=27, max_position_embeddings=256, **shape, **ends)
    ).save_pretrained(folder)
    ids = {letter: place for place, letter in enumerate([*LETTERS, "<unk>"])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder)
    chance = random.Random(0)
    texts = ["".join(chance.choices(LETTERS, k=5)) for _ in range(60)]
    lines = "".join(json.dumps({"id": text, "text": text}) + "\n" for text in texts)
    prompts = cli.file("prompts.jsonl", lines)
    return ("train-draft", folder, "--prompts", prompts, "--out", "draft", "-n", 12)


def test_one_command_makes_a_draft_that_goes_on_after_it_was_killed(cli, command):
    process = cli.start(*command, "--minutes", "20", "--json")
    work, patience = cli.folder / "draft.training", time.monotonic() + 300
    while not (work / "answers.jsonl").exists() or (work / "answers.jsonl").read_bytes().count(b"\n") < 20:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < patience
        time.sleep(0.05)
    process.kill()
    process.communicate()
    before = (work / "answers.jsonl").read_bytes()
    assert not (cli.folder / "draft").exists()

    values = json.loads(cli.call(*command, "--minutes", "0.05", "--json", code=0).stdout)
    whole = before[: before.rindex(b"\n") + 1]
    assert (work / "answers.jsonl").read_bytes().startswith(whole)
    assert values["steps"] > 0
    assert 0.0 <= values["acceptance"] <= 1.0
    model = ("--model", cli.folder / "target", "-n", 12, "--json")
    with_draft = json.loads(cli.call("generate", "abc", *model, "--draft", "draft", code=0).stdout)
    plain = json.loads(cli.call("generate", "abc", *model, "--draft", "none", code=0).stdout)
    assert with_draft["tokens"] == plain["tokens"]
    assert with_draft["drafts"]["draft"]["model"] == "draft"
    assert "is there already; replace it with --force" in cli.call(*command, code=2).stderr


def test_nothing_is_left_where_it_refuses(cli, command):
    few = cli.file("few.jsonl", '{"id": "a", "text": "abc"}\n')
    refused = cli.call("train-draft", command[1], "--prompts", few, "--out", "draft", code=2)
    assert "1 prompts are too few" in refused.stderr
    lines = "".join(json.dumps({"id": str(n), "text": LETTERS * 12 + LETTERS[n:]}) + "\n" for n in range(26))
    long = cli.file("long.jsonl", lines)
    refused = cli.call("train-draft", command[1], "--prompts", long, "--out", "draft", "-n", 12, code=1)
    assert "context" in refused.stderr
    assert not (cli.folder / "draft.training").exists()
