"""Prompts come out of every kind of file, and what is wrong in one is told with its line."""

import json

import pytest

from paceline.core.errors import ConfigError
from paceline.lab.workloads.files import ABSENT, read

SPEC_BENCH = [
    {"question_id": 81, "category": "writing", "turns": ["Write a post.", "Now shorter."]},
    {"question_id": 241, "category": "translation", "turns": ["Translate: guten Tag"], "reference": ["x"]},
]
SPEED_BENCH = [
    {
        "question_id": "coding_0001", "category": "coding", "sub_category": "python", "turns": ["def f(x):"],
        "source": "somewhere", "src_id": "1", "difficulty": None, "multiturn": False,
    },
    {
        "question_id": "qa_0002", "category": "qa", "sub_category": "open", "turns": ["Why?", "And then?"],
        "source": "elsewhere", "src_id": "2", "difficulty": None, "multiturn": True,
    },
]  # fmt: skip


@pytest.fixture
def lines(tmp_path):
    def write(*rows):
        path = tmp_path / "prompts.jsonl"
        path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
        return path

    return write


@pytest.fixture
def parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    def write(rows):
        path = tmp_path / "test.parquet"
        write_table(pyarrow.Table.from_pylist(rows), path)
        return path

    return write


def found(texts):
    return [(one.name, one.kind, one.text) for one in texts]


def test_plain_lines_give_text_or_prompt_with_any_of_the_usual_keys(lines):
    path = lines(
        {"text": "a b", "id": "one", "kind": "code"},
        "",
        {"prompt": "c", "name": "two", "category": "qa"},
        {"text": "d"},
    )
    assert found(read(path)) == [("one", "code", "a b"), ("two", "qa", "c"), ("line-4", "all", "d")]


def test_tokens_can_be_given_instead(lines):
    assert read(lines({"tokens": [3, 1], "id": "x"}))[0].tokens == (3, 1)


def test_a_conversation_is_kept_as_it_is_with_what_its_template_reads(lines, parquet):
    call = {"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call]}]
    more = {"tools": [{"type": "function"}], "documents": [{"title": "b"}]}
    row = {"messages": messages, **more, "chat_template_kwargs": {"loud": True}, "source": "c", "kind": "d"}
    row |= {"prompt": "the first message", "id": "b"}
    plain = {"messages": messages[:1], "prompt": "what the messages hold", "id": "e"}
    for path in (lines(row, plain), parquet([row, plain])):
        first, second = read(path)
        assert first.messages == messages
        assert first.options == {**more, "loud": True}
        assert (second.messages, second.options, second.name) == (messages[:1], {}, "e")


def test_a_line_separator_inside_a_text_does_not_end_its_line(lines):
    assert read(lines('{"text": "a\u2028b"}'))[0].text == "a\u2028b"


def test_spec_bench_gives_the_first_turn_of_each_question_and_its_category(lines):
    assert found(read(lines(*SPEC_BENCH))) == [
        ("81", "writing", "Write a post."),
        ("241", "translation", "Translate: guten Tag"),
    ]


def test_speed_bench_is_read_from_parquet_and_from_lines(lines, parquet):
    expected = [("coding_0001", "coding", "def f(x):"), ("qa_0002", "qa", "Why?")]
    assert found(read(parquet(SPEED_BENCH))) == expected
    assert found(read(lines(*SPEED_BENCH))) == expected


def test_an_item_of_speed_bench_that_was_not_completed_is_refused_with_the_remedy(parquet):
    absent = {**SPEED_BENCH[1], "turns": [f"{ABSENT} USING SPECDEC_BENCH"]}
    with pytest.raises(ConfigError, match=r"test\.parquet, row 2: .*'qa_0002'.*prepare_data\.py"):
        read(parquet([SPEED_BENCH[0], absent]))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("{",), r"prompts\.jsonl:1: it is not JSON"),
        (({"text": "a"}, "[1]"), r":2: found list"),
        (('{"text": "a", "n": NaN}',), r":1: NaN is no number"),
        (('{"tokens": [1e99]}',), r":1: the number 1e99 is out of bounds"),
        (('{"text": "\\ud800"}',), r":1: a text holds half of a surrogate pair"),
        (("[" * 100_000,), r":1: it is nested too deeply"),
        (({"text": ""},), r":1: needs a text"),
        (({"turns": []},), r":1: needs a text"),
        (({"turns": [7]},), r":1: needs a text"),
        (({"messages": []},), r":1: 'messages' must be a list of objects such as .*role.*user"),
        (({"messages": "a"},), r":1: 'messages' must be a list"),
        (({"messages": [{"content": "a"}]},), r":1: 'messages' must be a list"),
        (
            ({"messages": [{"role": "user"}], "chat_template_kwargs": []},),
            r":1: 'chat_template_kwargs' must be an object, found list",
        ),
        (({"text": "a", "id": 1}, {"text": "b", "id": 1}), r":2: the id '1' has been used"),
        ((), r"no prompts; write one object"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(lines, rows, message):
    with pytest.raises(ConfigError, match=message):
        read(lines(*rows))


def test_a_file_that_is_not_there_or_no_parquet_is_told_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.jsonl: no such file"):
        read(tmp_path / "absent.jsonl")
    pytest.importorskip("pyarrow")
    wrong = tmp_path / "wrong.parquet"
    wrong.write_text("{}")
    with pytest.raises(ConfigError, match=r"wrong\.parquet: cannot be read as Parquet"):
        read(wrong)
