"""Prompts in, texts out: files that survive an interruption, bad rows, and the actor class without Ray."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline import BackendError, ConfigError, load_config
from paceline_ray.batch import Generate
from paceline_ray.batch_files import Journal, read_prompts


@pytest.fixture
def config(run):
    return load_config(run)


@pytest.fixture
def prompts(tmp_path):
    def write(text):
        path = tmp_path / "prompts.jsonl"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def answer(text):
    return {"text": text, "tokens": len(text), "error": ""}


def written(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"prompts\.jsonl:2: not JSON"),
        ('["b"]', r"prompts\.jsonl:2: expected an object"),
        ('{"text": "a"}', r"prompts\.jsonl:2: expected an object"),
        ('{"prompt": "a", "x": NaN}', r"prompts\.jsonl:2: not JSON: NaN"),
        ('{"prompt": "a \\ud800"}', r"prompts\.jsonl:2: the prompt holds half of a surrogate pair"),
        ("[" * 100_000, r"prompts\.jsonl:2: nested too deeply"),
        (b"\xff", r"prompts\.jsonl:2: not JSON"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_bad_line_gets_its_error_and_the_others_their_texts(prompts, tmp_path, config, line, message):
    raw = line if isinstance(line, bytes) else line.encode()
    rows = read_prompts(prompts(b'{"prompt": "a", "id": 1}\n' + raw + b"\n"))
    with Journal(tmp_path / "out.jsonl", rows, config) as journal:
        assert journal.left() == [(0, "a")]
        journal.add(0, answer("b"))
        (failed,) = journal.finish()
    first, second = written(tmp_path / "out.jsonl")
    assert first == {"prompt": "a", "id": 1, "text": "b", "tokens": 1}
    assert second["error"] == failed
    with pytest.raises(ConfigError, match=message):
        read_prompts(prompts(b"\n" + raw + b"\n"))


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_a_file_without_prompts_is_wrong_usage(prompts, text):
    with pytest.raises(ConfigError, match="no prompts"):
        read_prompts(prompts(text))


@pytest.mark.parametrize("place", ["nowhere.jsonl", ".", "/dev/zero", "a\0b"])
def test_what_is_no_file_is_wrong_usage(tmp_path, place):
    with pytest.raises(ConfigError):
        read_prompts(tmp_path / place)


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_lines_end_at_a_line_feed_alone(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("rows") / "prompts.jsonl"
    texts = [f"{text}\u2028\x85\x0c" for text in texts]
    lines = [json.dumps({"prompt": text}, ensure_ascii=False) for text in texts]
    path.write_bytes("\n".join(lines).encode())
    assert [row.prompt for row in read_prompts(path)] == texts


def test_what_was_interrupted_goes_on_where_it_was(prompts, tmp_path, config):
    rows = read_prompts(prompts("".join(f'{{"prompt": "{letter}"}}\n' for letter in "abcd")))
    out = tmp_path / "out.jsonl"
    with Journal(out, rows, config) as journal:
        journal.add(2, answer("c"))
        journal.add(0, answer("a"))
    assert not out.exists()
    with journal.path.open("ab") as file:
        file.write(b'{"place": 1, "ans')  # killed while it wrote
    with Journal(out, rows, config) as journal:
        assert len(journal) == 2
        assert journal.left() == [(1, "b"), (3, "d")]
        journal.add(3, answer("d"))
    with Journal(out, rows, config) as journal:
        assert journal.left() == [(1, "b")]
        journal.add(1, answer("b"))
        assert journal.finish() == []
    assert [row["text"] for row in written(out)] == list("abcd")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "prompts.jsonl"]


def test_what_another_batch_began_is_not_gone_on_with(prompts, tmp_path, run, config):
    rows = read_prompts(prompts('{"prompt": "a"}\n{"prompt": "b"}\n'))
    out = tmp_path / "out.jsonl"
    with Journal(out, rows, config) as journal:
        journal.add(0, answer("a"))
    other = load_config({**run, "generation": {"max_new_tokens": 7}})
    for few, which in ((rows[:1], config), (rows, other)):
        with pytest.raises(ConfigError, match="other prompts or another run"):
            Journal(out, few, which)
    for damage in (b"[]\n", b"{\n", b"\xff\n"):
        journal.path.write_bytes(damage)
        with pytest.raises(ConfigError, match="other prompts or another run"):
            Journal(out, rows, config)


def test_two_commands_do_not_write_one_file(prompts, tmp_path, config):
    rows = read_prompts(prompts('{"prompt": "a"}\n'))
    with Journal(tmp_path / "out.jsonl", rows, config), pytest.raises(BackendError, match="another command"):
        Journal(tmp_path / "out.jsonl", rows, config)
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.jsonl"]  # nothing was begun


@pytest.mark.parametrize("place", [".", "/dev/null", "no/folder/out.jsonl"])
def test_a_place_that_is_no_file_is_refused_before_anything_is_decoded(prompts, tmp_path, config, place):
    rows = read_prompts(prompts('{"prompt": "a"}\n'))
    with pytest.raises(ConfigError):
        Journal(tmp_path / place, rows, config)


def test_what_a_row_holds_besides_is_handed_through_whatever_it_is(prompts, tmp_path, config):
    path = prompts('{"prompt": "über\u2028", "id": "\\ud800", "error": "of before"}\n')
    with Journal(tmp_path / "out.jsonl", read_prompts(path), config) as journal:
        journal.add(0, answer("x"))
        journal.finish()
    (row,) = written(tmp_path / "out.jsonl")
    assert row == {"prompt": "über\u2028", "id": "\ud800", "text": "x", "tokens": 1}


def test_the_actor_adds_texts_and_tells_of_prompts_that_fail(run, plain, monkeypatch):
    actor = Generate(json.loads(json.dumps(run)), sharing=False)
    encode = actor._replica.decoder.encode

    def failing(prompt):
        if prompt == "boom":
            raise TypeError("what a tokenizer says")
        return encode(prompt)

    monkeypatch.setattr(actor._replica.decoder, "encode", failing)
    found = actor({"prompt": ["the rain", "", "in spain", "boom"], "id": [1, 2, 3, 4]})
    assert found["id"] == [1, 2, 3, 4]
    assert found["text"] == [plain.generate("the rain").text, "", plain.generate("in spain").text, ""]
    assert found["tokens"] == [40, 0, 40, 0]
    assert [bool(error) for error in found["error"]] == [False, True, False, True]
    assert all(
        accepted <= drafted for accepted, drafted in zip(found["accepted"], found["drafted"], strict=True)
    )
