"""Recordings in files: what is written is read again, and what is damaged is told with its line."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_recordings import lab_recordings

from paceline.core.errors import TraceError
from paceline.core.trace import TraceWriter, read_trace
from paceline.lab.json_lines import seal
from paceline.lab.recording.files import lines
from paceline.lab.recording.format_texts import runs, starts_from_json, starts_to_json
from paceline.lab.recording.latency import DraftTimes, LatencyProfile
from paceline.lab.recording.model import DraftInfo, Header, Measured, Recording, Starts, Text, TextsInMemory
from paceline.lab.recording.reader import read_recording
from paceline.lab.recording.writer import RecordingWriter, write_recording

PROFILE = LatencyProfile({1: 1.0}, 0, 0.0, {"small": DraftTimes({1: 0.1}, {})}, 0.0)
INFO = DraftInfo(caches=True, short=1, signals=frozenset({"top1"}), match_lengths=False, scores=True)
HEADER = Header({"seed": 0}, 4, "greedy", {"small": INFO}, PROFILE)
NAMES = ["plain.jsonl", "packed.jsonl.zst"]


def text_of(name="a", bits="1101"):
    """A text whose one draft agrees as the bits say."""
    n = len(bits)
    offered = np.full(n, 4, np.int16)
    agreed = runs(np.array([bit == "1" for bit in bits]), offered)
    signals = {"top1": np.full((n, 4), 0.5, np.float32)}
    drafts = {"small": Starts(offered, agreed, signals=signals)}
    return Text(name, "code", "0" * 64, 3, None, 8, tuple(range(n)), "eos", True, 2.5, drafts)


def recording_of(*texts, measured=()):
    return Recording(HEADER, measured, TextsInMemory(texts))


def same(one, other):
    """Tell whether two values are equal, arrays by their numbers and kinds."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if dataclasses.is_dataclass(one):
        fields = [field.name for field in dataclasses.fields(one)]
        return type(one) is type(other) and all(same(getattr(one, f), getattr(other, f)) for f in fields)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return one == other


def told(starts):
    """The same starts, with zeros where signals mean nothing."""
    within = np.arange(10_000)[None, :]
    cleared = {
        name: np.where(within[:, : rows.shape[1]] < starts.offered[:, None], rows, 0).astype(rows.dtype)
        for name, rows in starts.signals.items()
    }
    return dataclasses.replace(starts, signals=cleared)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lab_recordings(), st.sampled_from(NAMES))
def test_what_is_written_is_read_again(tmp_path, recording, name):
    write_recording(tmp_path / name, recording)
    found = read_recording(tmp_path / name)
    assert found.complete
    assert same(found.header, recording.header)
    assert found.texts.names() == recording.texts.names()
    for _ in range(2):
        for before, after in zip(recording, found, strict=True):
            assert same(dataclasses.replace(before, drafts={}), dataclasses.replace(after, drafts={}))
            assert list(before.drafts) == list(after.drafts)
            for draft, starts in before.drafts.items():
                assert same(told(starts), told(after.drafts[draft]))


@settings(deadline=None)
@given(st.text("01", min_size=1, max_size=12), st.integers(1, 6), st.randoms(use_true_random=False))
def test_a_draft_that_knows_the_context_alone_is_written_as_bits_and_nothing_is_lost(bits, longest, chance):
    n = len(bits)
    offered = np.full(n, longest, np.int16)
    agreed = runs(np.array([bit == "1" for bit in bits]), offered)
    own = {}

    def value(start, column):
        # What is said depends on the tokens before: all of the text up to where the draft left it, then its own.
        left = min(start + int(agreed[start]) if agreed[start] < longest else n, n - 1)
        place = start + column
        key = ("on", place) if place <= left else ("off", left, place)
        return own.setdefault(key, chance.random())

    rows = np.array([[value(p, k) for k in range(longest)] for p in range(n)], np.float32)
    starts = Starts(offered, agreed, signals={"top1": rows})
    values = json.loads(json.dumps(starts_to_json(starts, longest)))
    assert values["bits"] == bits
    assert set(values["signals"]["top1"]) == {"path", "tails"}
    assert same(starts_from_json(values, n, longest), starts)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_can_be_read_by_its_name(tmp_path, name):
    path = tmp_path / name
    write_recording(path, recording_of(text_of("a"), text_of("b", "0110"), text_of("c")))
    texts = read_recording(path).texts
    assert texts.names() == ("a", "b", "c")
    assert [texts["b"].drafts["small"].agreed.tolist(), texts["a"].name] == [[0, 2, 1, 0], "a"]
    with pytest.raises(TraceError, match="there is no text 'd'; there are 3 others"):
        texts["d"]


@pytest.mark.parametrize("name", NAMES)
def test_what_was_measured_is_read_again(tmp_path, name):
    measured = (
        Measured({"name": "static", "gamma": 3}, "a", 4, 2, 0.5),
        Measured({"name": "auto"}, "a", 4, 2, 0.5, part=1),
    )
    write_recording(tmp_path / name, recording_of(text_of(), measured=measured))
    assert read_recording(tmp_path / name).measured == measured


@pytest.mark.parametrize("name", NAMES)
def test_what_was_measured_on_a_text_that_was_cut_off_does_not_count(tmp_path, name):
    with RecordingWriter(tmp_path / name, HEADER) as writer:
        for one in "ab":
            measured = [Measured({"name": "auto"}, one, 4, 2, 0.5)]
            writer.text(text_of(one), costs=PROFILE, measured=measured)
    body = b"".join(line for _, _, line in lines(tmp_path / name))
    path = tmp_path / "cut.jsonl"
    path.write_bytes(body[:-9])
    assert b'"measured"' in body.splitlines()[4]
    found = read_recording(path)
    assert found.texts.names() == ("a",)
    assert [one.text for one in found.measured] == ["a"]


def test_the_last_cost_sheet_counts(tmp_path):
    later = dataclasses.replace(PROFILE, overhead_s=0.125)
    with RecordingWriter(tmp_path / "r.jsonl", HEADER) as writer:
        writer.text(text_of("a"), costs=PROFILE)
        writer.text(text_of("b"), costs=later)
    found = read_recording(tmp_path / "r.jsonl")
    assert found.header.costs == later
    assert not found.complete


@pytest.mark.parametrize("name", NAMES)
def test_each_text_is_in_the_file_as_soon_as_it_is_written(tmp_path, name):
    writer = RecordingWriter(tmp_path / name, HEADER)
    writer.text(text_of("a"), costs=PROFILE)
    assert read_recording(tmp_path / name).texts.names() == ("a",)
    writer.close()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_file_that_was_cut_off_loses_its_last_text_only(tmp_path, name, cut):
    path = tmp_path / name
    with RecordingWriter(path, HEADER) as writer:
        for one in "abc":
            writer.text(text_of(one), costs=PROFILE if one == "a" else None)
    path.write_bytes(path.read_bytes()[:-cut])
    found = read_recording(path)
    assert [text.name for text in found] == ["a", "b"]
    assert not found.complete


def test_one_long_frame_that_was_cut_off_gives_what_can_still_be_unpacked(tmp_path):
    plain, packed = tmp_path / "r.jsonl", tmp_path / "r.jsonl.zst"
    chance = np.random.default_rng(0)
    texts = []
    for number in range(400):
        text = text_of(f"t{number}", "".join(chance.choice(list("01"), 60)))
        texts.append(dataclasses.replace(text, prompt_sha256=chance.bytes(32).hex()))
    write_recording(plain, recording_of(*texts))
    body = plain.read_text().splitlines(keepends=True)
    body.insert(1, next(line for line in body if '"costs"' in line))
    whole = zstandard.ZstdCompressor().compress("".join(body).encode())
    packed.write_bytes(whole[: len(whole) * 2 // 3])
    found = read_recording(packed)
    assert not found.complete
    assert 50 < len(list(found)) < 400


def damaged(path: Path, number: int, line: str) -> Path:
    """Replace one line of a recording; what is an object gets a checksum that fits."""
    body = path.read_bytes().splitlines(keepends=True)
    try:
        body[number - 1] = seal({key: it for key, it in json.loads(line).items() if key != "crc32"})
    except (ValueError, AttributeError):
        body[number - 1] = line.encode() + b"\n"
    path.write_bytes(b"".join(body))
    return path


@pytest.fixture
def path(tmp_path):
    write_recording(tmp_path / "r.jsonl", recording_of(text_of("a"), text_of("b")))
    return tmp_path / "r.jsonl"


def test_a_damaged_line_is_told_with_its_number(path):
    for line in ('{"kind":"text"', "[]", '{"kind":"text"}', '{"no":1}', "\x00"):
        with pytest.raises(TraceError, match=r"r\.jsonl:2: this line is damaged"):
            read_recording(damaged(path, 2, line))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bits", "11"),
        ("bits", "11x1"),
        ("offered", [9, 9, 9, 9]),
        ("offered", [-1, 4, 4, 4]),
        ("chance", "AAAA"),
        ("chance", "***"),
        ("hints", [1.5, 0, 0, 0]),
        ("agreed", [4, 4, 4, 4]),
        ("signals", {"top1": {"path": "AAAAAA=="}}),
    ],
)
def test_a_text_whose_numbers_do_not_fit_is_told_with_its_line(path, key, value):
    body = json.loads(path.read_text().splitlines()[2])
    draft = body["drafts"]["small"]
    if key == "agreed":
        del draft["bits"]
    draft[key] = value
    found = read_recording(damaged(path, 3, json.dumps(body)))
    with pytest.raises(TraceError, match=r"r\.jsonl:3: this line is damaged"):
        list(found)
    assert found.texts["a"].name == "a"
    with pytest.raises(TraceError, match=r"r\.jsonl:3"):
        found.texts["b"]


def test_two_texts_of_one_name_are_refused(path):
    with pytest.raises(TraceError, match=r"r\.jsonl:3: .*'a' stands in line 2"):
        read_recording(damaged(path, 3, path.read_text().splitlines()[1]))


def test_another_version_is_refused(path):
    first = json.loads(path.read_text().splitlines()[0]) | {"version": 99}
    with pytest.raises(TraceError, match=r"r\.jsonl:1: trace version 99; this paceline reads version 2"):
        read_recording(damaged(path, 1, json.dumps(first)))


@pytest.mark.parametrize("line", ["{}", "[1]", "nonsense", '{"kind":"text"}', "\x89PNG"])
def test_what_is_no_trace_is_refused(path, line):
    with pytest.raises(TraceError, match=r"r\.jsonl:1: this is no recording; give a recording"):
        read_recording(damaged(path, 1, line))


@pytest.mark.parametrize("content", ["", '{"kind":"trace"'])
def test_an_empty_file_is_refused_with_the_way_out(tmp_path, content):
    (tmp_path / "r.jsonl").write_text(content)
    with pytest.raises(TraceError, match="holds no whole line; make it anew with `paceline record`"):
        read_recording(tmp_path / "r.jsonl")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(TraceError, match=r"none\.jsonl: no such file"):
        read_recording(tmp_path / "none.jsonl")


def test_a_recording_without_a_finished_text_is_refused(tmp_path):
    RecordingWriter(tmp_path / "r.jsonl", HEADER).close()
    with pytest.raises(TraceError, match="no text was finished"):
        read_recording(tmp_path / "r.jsonl")


def test_what_is_not_compressed_though_its_name_says_so_is_refused(tmp_path):
    (tmp_path / "r.jsonl.zst").write_text("not compressed\n")
    with pytest.raises(TraceError, match=r"r\.jsonl\.zst:1: the compressed data is damaged here"):
        read_recording(tmp_path / "r.jsonl.zst")


def test_a_serving_trace_is_no_recording(tmp_path):
    with TraceWriter(tmp_path / "serving.jsonl") as writer:
        writer.begin([1, 2], 8).end("eos")
    with pytest.raises(TraceError, match=r"serving\.jsonl:1: .*rounds as they were decided"):
        read_recording(tmp_path / "serving.jsonl")


def test_a_recording_is_no_serving_trace(path):
    with pytest.raises(TraceError, match=r"r\.jsonl:1: this is a recording"):
        read_trace(path)


def test_lines_of_later_writers_are_passed_over(path):
    body = path.read_text().splitlines(keepends=True)
    body.insert(2, seal({"kind": "weather", "sunny": True}).decode())
    path.write_text("".join(body))
    assert len(list(read_recording(path))) == 2


def test_an_unwritable_place_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TraceError, match="file is no folder; give another path"):
        write_recording(tmp_path / "file" / "r.jsonl", recording_of(text_of()))


@pytest.mark.parametrize("name", NAMES)
def test_no_byte_of_a_recording_changes_without_notice(tmp_path, name):
    """Whatever is read from a file with a changed byte is what was written, or less of it, never something else."""
    good = tmp_path / name
    write_recording(
        good, recording_of(text_of("a"), text_of("b"), measured=[Measured({"name": "x"}, "a", 4, 2, 0.5)])
    )
    whole, data, bad = read_recording(good), good.read_bytes(), tmp_path / f"bad-{name}"
    noticed = 0
    for place in range(len(data)):
        bad.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        try:
            found = read_recording(bad)
            texts = list(found)
        except TraceError as error:
            assert str(bad) in str(error)  # noqa: PT017 - either is right
            noticed += 1
            continue
        if found.complete:  # a byte that means nothing: of a header of zstd
            assert len(texts) == 2
        assert same(found.header, whole.header)
        assert all(same(one, whole.texts[one.name]) for one in texts)
        noticed += not found.complete
    assert noticed > 0.97 * len(data)


def test_a_small_file_that_stands_for_gigabytes_is_refused_soon(tmp_path):
    path = tmp_path / "bomb.jsonl.zst"
    with path.open("wb") as raw, zstandard.ZstdCompressor().stream_writer(raw) as packer:
        packer.write(b'{"kind":"trace","version":2,"form":"recording","run":"')
        for _ in range(200):
            packer.write(b"x" * (1 << 20))
    with pytest.raises(TraceError, match=r"bomb.jsonl.zst:1: this line has more than 64 MiB"):
        read_recording(path)
    line = seal({"kind": "weather", "filler": "0" * 4000})
    with path.open("wb") as raw, zstandard.ZstdCompressor().stream_writer(raw) as packer:
        packer.write(seal({"kind": "trace", "version": 2, "form": "recording"}))
        for _ in range(200):
            packer.write(line * ((1 << 20) // len(line)))
    assert path.stat().st_size < 1 << 16
    with pytest.raises(TraceError, match=r"bomb.jsonl.zst: unpacks to more than 1000 times its size"):
        sum(1 for _ in lines(path))


@pytest.mark.parametrize("longest", [0, 1 << 20, 1e9, "4", None])
def test_a_header_that_asks_for_any_amount_of_memory_is_refused(path, longest):
    first = json.loads(path.read_text().splitlines()[0]) | {"longest": longest}
    with pytest.raises(TraceError, match=r"r\.jsonl:1: this line is damaged"):
        read_recording(damaged(path, 1, json.dumps(first)))


def test_a_recording_that_lost_a_whole_text_says_so(path):
    body = path.read_bytes().splitlines(keepends=True)
    del body[1]
    path.write_bytes(b"".join(body))
    with pytest.raises(TraceError, match=r"2 texts were written, and 1 are here"):
        read_recording(path)
