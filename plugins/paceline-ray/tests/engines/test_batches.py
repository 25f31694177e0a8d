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
    assert not (tmp_path / "out.jsonl.part").exists()
    decoder = paceline.load(tmp_path / "run.yaml")
    for row, given in zip(found[:20], rows, strict=False):
        assert row["prompt"] == given["prompt"]
        assert row["text"] == decoder.generate(row["prompt"]).text
        assert row["tokens"] == 16
        assert "error" not in row
    assert done.end(30.0)[1] == []


def test_a_batch_that_is_stopped_goes_on_where_it_was(command, tmp_path, wait):
    (tmp_path / "run.yaml").write_text(RUN, encoding="utf-8")
    rows = [{"prompt": f"Chapter {number}. It was", "id": number} for number in range(60)]
    rows[7] = {"prompt": "half \ud800", "id": 7}
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    part = tmp_path / "out.jsonl.part"
    words = ("batch", "prompts.jsonl", "out.jsonl", "--config", "run.yaml")

    def some():
        return part.exists() and part.read_bytes().count(b"\n") > 3

    first = command(*words)
    wait(some, 150.0, "some texts are written down")
    code, left = first.end(60.0)
    assert (code, left) == (143, [])
    assert "the same command goes on from there" in first.text()
    done = part.read_bytes().count(b"\n") - 1
    assert 0 < done < 59
    second = command(*words)
    assert second.process.wait(200.0) == 1, second.text()[-4000:]  # of the row that holds no text
    assert f"{done} of 60 texts are in" in second.text()
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in found] == list(range(60))
    assert [row["id"] for row in found if "error" in row] == [7]
    assert all(row["tokens"] == 16 for row in found if "error" not in row)


def test_a_model_that_cannot_be_loaded_is_the_last_line(command, tmp_path):
    (tmp_path / "damaged").mkdir()
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 64}
    (tmp_path / "damaged" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    run = "target: {backend: hf, model: ./damaged}\ndrafts: {lookup: {backend: prompt-lookup}}\npolicy: survival\n"
    (tmp_path / "run.yaml").write_text(run, encoding="utf-8")
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Once"}\n', encoding="utf-8")
    for words in (("serve", "--port", "8765"), ("batch", "prompts.jsonl", "out.jsonl")):
        failed = command(*words, "--config", "run.yaml")
        assert failed.process.wait(150.0) == 1
        last = failed.text().splitlines()[-1]
        assert last.startswith("paceline-ray: "), failed.text()[-2000:]
        assert "damaged" in last
