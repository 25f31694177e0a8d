"""Traces."""

import json
import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.errors import TraceError
from paceline.core.records import DraftState, Plan, Round, StopRule, TokenSignals
from paceline.core.round_json import round_from_json, round_to_json
from paceline.core.trace import TraceWriter, read_trace

seconds = st.floats(0, 1e3)
rounds = st.builds(
    Round,
    index=st.integers(0, 999),
    position=st.integers(0, 999),
    context=st.integers(1, 999),
    plan=st.builds(
        Plan,
        gamma=st.integers(0, 16),
        draft=st.sampled_from([None, "small", "lookup"]),
        stop=st.sampled_from([None, StopRule("top1", below=0.4), StopRule("entropy", above=1.5)]),
        reason=st.sampled_from([None, "probe"]),
        score=st.frozensets(st.sampled_from(["small", "lookup"])),
        use_signals=st.booleans(),
    ),
    lag=st.integers(0, 99),
    drafted=st.integers(0, 16),
    accepted=st.integers(0, 16),
    emitted=st.integers(1, 17),
    ended=st.sampled_from([None, "eos", "stop", "length"]),
    draft_s=seconds,
    verify_s=seconds,
    total_s=seconds,
    tokens=st.lists(st.integers(0, 9999), max_size=17).map(tuple),
    signals=st.lists(
        st.builds(TokenSignals, st.integers(0, 16), top1=st.none() | st.floats(0, 1)), max_size=4
    ).map(tuple),
    match_length=st.none() | st.integers(0, 32),
    drafts=st.dictionaries(
        st.sampled_from(["small", "lookup"]),
        st.builds(DraftState, st.integers(0, 99), st.none() | st.integers(0, 32)),
    ),
)
scored = st.builds(
    replace,
    rounds,
    scores=st.dictionaries(
        st.sampled_from(["small", "lookup"]), st.lists(st.floats(0, 1)).map(tuple), min_size=1
    ),
    score_s=seconds,
)


def write(path, done, *, end=True):
    with TraceWriter(path, {"policy": "static"}) as trace:
        recorder = trace.begin([1, 2, 3], 9)
        for one in done:
            recorder.round(one)
        if end:
            recorder.end("length")


ROUND = Round(0, 0, 3, Plan(1, "d"), 0, 1, 1, 2, None, 0.1, 0.2, 0.3, (4, 5))


@settings(deadline=None)
@given(done=rounds)
def test_a_round_survives_json(done):
    assert done == round_from_json(json.loads(json.dumps(round_to_json(done))))


def test_a_trace_reads_back_as_it_was_written(tmp_path):
    write(tmp_path / "deep" / "run.jsonl", [ROUND, ROUND])

    trace = read_trace(tmp_path / "deep" / "run.jsonl")

    assert trace.run == {"policy": "static"}
    assert trace.requests[0].rounds == [ROUND, ROUND]
    assert (trace.requests[0].ended, trace.requests[0].complete) == ("length", True)


def test_a_trace_cut_off_at_any_byte_gives_every_round_that_was_whole(tmp_path):
    write(tmp_path / "run.jsonl", [ROUND, ROUND, ROUND])
    data = (tmp_path / "run.jsonl").read_bytes()
    first_line = data.index(b"\n") + 1
    for cut in range(first_line, len(data)):
        (tmp_path / "cut.jsonl").write_bytes(data[:cut])
        whole = data[:cut].count(b'"kind":"round"', 0, data.rindex(b"\n", 0, cut) + 1)

        requests = read_trace(tmp_path / "cut.jsonl").requests

        assert whole == sum(len(request.rounds) for request in requests)
        assert not any(request.complete for request in requests)


def test_each_round_is_on_disk_before_the_next_begins(tmp_path):
    with TraceWriter(tmp_path / "run.jsonl") as trace:
        recorder = trace.begin([1], 5)
        for count in (1, 2):
            recorder.round(ROUND)

            assert count == len(read_trace(tmp_path / "run.jsonl").requests[0].rounds)


def test_requests_may_interleave(tmp_path):
    with TraceWriter(tmp_path / "run.jsonl") as trace:
        first, second = trace.begin([1], 5), trace.begin([2], 5)
        first.round(ROUND)
        second.round(ROUND)
        first.round(ROUND)

    assert [len(request.rounds) for request in read_trace(tmp_path / "run.jsonl").requests] == [2, 1]


def test_damage_before_the_last_line_is_reported_with_its_line(tmp_path):
    write(tmp_path / "run.jsonl", [ROUND, ROUND])
    lines = (tmp_path / "run.jsonl").read_text().splitlines()
    lines[2] = lines[2][:20]
    (tmp_path / "run.jsonl").write_text("\n".join(lines) + "\n")

    with pytest.raises(TraceError, match=r"run.jsonl:3: this line is damaged"):
        read_trace(tmp_path / "run.jsonl")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the trace is empty"),
        ("hello\n", "not a paceline trace"),
        ('{"kind":"round"}\n', "not a paceline trace"),
        ('{"kind":"trace","version":99}\n', "trace version 99; this paceline reads version 1"),
    ],
)
def test_a_file_that_is_no_trace_of_this_version_is_refused(tmp_path, text, message):
    (tmp_path / "run.jsonl").write_text(text)

    with pytest.raises(TraceError, match=message):
        read_trace(tmp_path / "run.jsonl")


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(TraceError, match=r"none\.jsonl: no such file"):
        read_trace(tmp_path / "none.jsonl")


def test_the_prompt_is_not_stored(tmp_path):
    with TraceWriter(tmp_path / "run.jsonl") as trace:
        trace.begin([424242], 5)

    assert "424242" not in (tmp_path / "run.jsonl").read_text()


def test_no_file_is_made_before_the_first_request(tmp_path):
    with TraceWriter(tmp_path / "run.jsonl"):
        pass

    assert not (tmp_path / "run.jsonl").exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/full")])
def test_what_is_no_regular_file_is_refused_and_stays(tmp_path, make):
    make(tmp_path / "run.jsonl")
    before = (tmp_path / "run.jsonl").lstat()

    with pytest.raises(TraceError, match=r"run\.jsonl: is a "):
        write(tmp_path / "run.jsonl", [ROUND])

    assert os.path.samestat(before, (tmp_path / "run.jsonl").lstat())


def test_a_path_with_nul_is_refused(tmp_path):
    with pytest.raises(TraceError, match="no path holds the character NUL"):
        write(tmp_path / "a\0b", [ROUND])


@pytest.mark.parametrize("text", ["policy: online\n", '{"kind":"trace","form":"recording"}\n', "[]\n"])
def test_a_file_that_holds_something_else_is_not_replaced(tmp_path, text):
    (tmp_path / "run.yaml").write_text(text)

    with pytest.raises(TraceError, match="holds something that is no trace, and would be lost"):
        write(tmp_path / "run.yaml", [ROUND])

    assert (tmp_path / "run.yaml").read_text() == text


def test_an_older_trace_is_replaced(tmp_path):
    for count in (3, 1):
        write(tmp_path / "run.jsonl", [ROUND] * count)

        assert count == len(read_trace(tmp_path / "run.jsonl").requests[0].rounds)


def test_a_writer_that_was_closed_goes_on_with_its_own_file(tmp_path):
    path = tmp_path / "trace.jsonl"
    writer = TraceWriter(path)
    for prompt in ([1, 2], [3]):
        with writer:
            writer.begin(prompt, 4)
    assert [request.info["prompt_tokens"] for request in read_trace(path).requests] == [2, 1]


def test_a_full_disk_is_an_error_of_ours_and_leaves_whole_lines(tmp_path, monkeypatch):
    os_write, left = os.write, [3]

    def some(file, data):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return os_write(file, data[:-5] if left[0] == 0 else data)

    monkeypatch.setattr(os, "write", some)
    with pytest.raises(
        TraceError, match=r"run\.jsonl: cannot be written: No space left on device; make room"
    ):
        write(tmp_path / "run.jsonl", [ROUND, ROUND])

    assert (tmp_path / "run.jsonl").read_bytes().endswith(b"\n")
    assert read_trace(tmp_path / "run.jsonl").requests[0].rounds == []


@pytest.mark.parametrize("reason", [{1, 2}, float("nan"), b"bytes"])
def test_a_round_that_is_not_json_able_is_an_error_of_ours(tmp_path, reason):
    with pytest.raises(TraceError, match="not JSON-able"):
        write(tmp_path / "run.jsonl", [replace(ROUND, plan=Plan(1, "d", reason=reason))])
