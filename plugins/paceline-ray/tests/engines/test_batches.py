"""A file of prompts in, a file of texts out, by two actors on `ray.data`."""

import json

import pytest

import paceline

pytestmark = pytest.mark.engine

RUN = """
drafts:
  small: {backend: embedded, size: small}
policy: {name: survival, max_gamma: 8}
generation: {max_new_tokens: 16}
"""


def test_a_file_of_prompts_becomes_a_file_of_texts(command, tmp_path):
    (tmp_path / "run.yaml").write_text(RUN, encoding="utf-8")
    rows = [{"prompt": f"Chapter {number}. It was", "id": number} for number in range(20)]
    rows.append({"prompt": "word " * 3000, "id": 20})
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = command("batch", "prompts.jsonl", "out.jsonl", "--config", "run.yaml", "--replicas", 2)
    code = done.process.wait(200.0)
    assert code == 1, done.text()[-4000:]  # one prompt is too long
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in found] == list(range(21))
    assert "shorten the prompt" in found[-1]["error"]
    decoder = paceline.load(tmp_path / "run.yaml")
    for row, given in zip(found[:20], rows, strict=False):
        assert row["prompt"] == given["prompt"]
        assert row["text"] == decoder.generate(row["prompt"]).text
        assert row["tokens"] == 16
        assert "error" not in row
    assert done.end(30.0)[1] == []
