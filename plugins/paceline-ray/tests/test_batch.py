"""Prompts in, texts out: files, and the actor class without Ray."""

import json

import pytest

from paceline import ConfigError
from paceline_ray.batch import Generate, read_prompts, write_rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a"}\n{\n', r"\.jsonl:2: not JSON"),
        ('{"prompt": "a"}\n\n["b"]\n', r"\.jsonl:3: expected an object"),
        ('{"text": "a"}\n', r"\.jsonl:1: expected an object"),
        ("\n", "no prompts"),
    ],
)
def test_a_line_that_is_no_prompt_is_named(tmp_path, text, message):
    path = tmp_path / "prompts.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_prompts(path)


def test_rows_are_written_as_they_are(tmp_path):
    rows = [{"prompt": "über", "id": 1}, {"prompt": "b", "text": "c"}]
    write_rows(rows, tmp_path / "out.jsonl")
    assert read_prompts(tmp_path / "out.jsonl") == rows
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_the_actor_adds_texts_and_tells_of_prompts_that_fail(run, plain):
    actor = Generate(json.loads(json.dumps(run)), sharing=False)
    found = actor({"prompt": ["the rain", "", "in spain"], "id": [1, 2, 3]})
    assert found["id"] == [1, 2, 3]
    assert found["text"] == [plain.generate("the rain").text, "", plain.generate("in spain").text]
    assert found["tokens"] == [40, 0, 40]
    assert [bool(error) for error in found["error"]] == [False, True, False]
    assert all(
        accepted <= drafted for accepted, drafted in zip(found["accepted"], found["drafted"], strict=True)
    )
