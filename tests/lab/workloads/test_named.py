"""Workloads by name are what they say."""

import json
import re
from collections import Counter

import pytest

from paceline.cli._options import read_config
from paceline.core.errors import ConfigError
from paceline.lab.workloads.named import NAMES, TIMES, load
from paceline.lab.workloads.prompts import embedded


@pytest.mark.parametrize("name", sorted({*NAMES} - {"chat"}))
def test_every_name_gives_prompts_with_names_of_their_own_and_the_kinds_of_those_shipped(name):
    texts = load(name).texts
    assert len({one.name for one in texts}) == len(texts) >= 30
    assert {one.kind for one in texts} == {one.kind for one in embedded()}
    assert all(one.text for one in texts)
    assert texts == load(name).texts


def test_repetitive_prompts_hold_the_same_lines_several_times():
    for one in load("repetitive").texts:
        entries = re.split(r"# entry \d+\n", one.text)
        assert entries[0] == entries[-1] == ""
        assert len(entries[1:-1]) == TIMES
        assert len(set(entries[1:-1])) == 1
        assert entries[1].strip()


def test_varied_prompts_are_different_beginnings_of_those_shipped():
    texts = load("varied").texts
    assert len({one.text for one in texts}) == len(texts) > 3.9 * len(embedded())
    shipped = {one.name: one.text for one in embedded()}
    for one in texts:
        whole = shipped[one.name.rpartition("-")[0]]
        assert whole.startswith(one.text)
        assert one.text == whole or whole[len(one.text)].isspace()


def test_the_conversations_are_many_of_many_kinds_and_end_with_what_a_user_says():
    texts = load("chat").texts
    kinds = Counter(text.kind for text in texts)
    assert len({text.name for text in texts}) == len(texts) >= 50
    assert len(kinds) >= 13
    assert set(kinds.values()) == {4}
    assert {text.messages[-1]["role"] for text in texts} == {"user"}
    assert len({json.dumps(text.messages) for text in texts}) == len(texts)


def test_the_long_conversations_hold_their_documents_and_the_others_are_short():
    for text in load("chat").texts:
        whole = " ".join(message["content"] for message in text.messages)
        # Near the tokens of a model whose vocabulary has whole words and single digits.
        tokens = len(re.findall(r"\d|[^\W\d]+|[^\w\s]", whole))
        low, high = (1600, 3500) if text.kind == "long-context" else (15, 450)
        assert low < tokens < high, (text.name, tokens)
        assert not re.search(r"\{(harbour|minutes|log|stock)\}", whole)


def test_the_bad_pair_drafts_with_the_larger_model_whatever_the_run_file_says(tmp_path):
    workload = load("bad-pair")
    file = tmp_path / "run.yaml"
    file.write_text("target: {backend: toy}\npolicy: online\n")
    run = read_config(file, base=workload.changes)
    assert run.target.size == "small"
    assert [draft.size for draft in run.drafts.values()] == ["medium"]
    assert run.policy.name == "online"
    assert read_config(file, ["target=toy"], base={"target": "embedded"}).target.backend == "toy"


def test_the_models_of_the_bad_pair_are_the_wrong_way_round():
    from paceline.backends.embedded.config import FOLDERS, WEIGHTS

    sizes = {
        size: (WEIGHTS / folder / "model.safetensors").stat().st_size
        for size, folder in FOLDERS.items()
        if (WEIGHTS / folder / "model.safetensors").exists()
    }
    if len(sizes) < len(FOLDERS):
        pytest.skip("the weights of the embedded pair are not in this tree")
    changes = load("bad-pair").changes
    assert sizes[changes["target"]["size"]] < sizes[changes["drafts"]["medium"]["size"]]


def test_a_file_goes_by_its_path(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "abc"}\n')
    workload = load(str(path))
    assert workload.name == str(path)
    assert [one.text for one in workload.texts] == ["abc"]
    with pytest.raises(ConfigError, match=r"gone\.jsonl: no such file"):
        load("gone.jsonl")


def test_a_name_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(
        ConfigError, match=r"no workload 'variet'.*did you mean 'varied'.*shipped, repetitive"
    ):
        load("variet")
