"""Results: what is kept, in memory and in a file that can be resumed."""

import importlib.util
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.errors import PacelineError, TraceError
from paceline.core.generation import Totals
from paceline.lab.results import Key, Measurement, Results
from paceline.lab.results_file import ResultsWriter, read_stored

SOURCE = {"path": "r.jsonl", "sha256": "0" * 64}
OPTIONS = {"static-0": {"name": "static", "gamma": 0}, "online": {"name": "online", "window": 10}}


def some_results():
    """Return the results of two policies on three texts, warm and cold."""
    results = Results(SOURCE, dict(OPTIONS), {"svip": "no signals"})
    for policy in OPTIONS:
        for start in ("warm", "cold"):
            for number in range(3):
                totals = Totals(
                    5,
                    8,
                    3,
                    8,
                    0.0,
                    0.25,
                    1.5,
                    2.0 + number,
                    0.0,
                    {0: 1, 2: 4},
                    {"": 1, "a": 4},
                    (4, 2),
                    (2, 1),
                )
                results.append(
                    Measurement(policy, f"t/{number}", "t", number > 0, 2.0 + number, totals, start=start)
                )
    return results


def stored(path, results=None):
    (results or some_results()).write(path)
    return path


def test_results_come_back_from_a_file_as_they_were(tmp_path):
    results = some_results()
    assert Results.read(stored(tmp_path / "results.jsonl", results)) == results


times = st.floats(0, 1e6)
counts = st.integers(0, 99)


@settings(deadline=None)
@given(
    st.builds(
        Measurement,
        policy=st.text(),
        text=st.text(),
        kind=st.text(),
        varies=st.booleans(),
        seconds=times,
        totals=st.builds(
            Totals, rounds=counts, emitted=counts, prefill_s=times, seconds=times,
            gammas=st.dictionaries(counts, counts), drafts=st.dictionaries(st.text(), counts),
            reached=st.lists(counts).map(tuple), agreed=st.lists(counts).map(tuple),
        ),
        clock=st.sampled_from(["wall", "virtual"]),
        seed=counts,
        draw=st.none() | counts,
        repeat=counts,
    )
)  # fmt: skip
def test_every_measurement_comes_back_as_it_was(tmp_path_factory, one):
    path = tmp_path_factory.mktemp("results") / "results.jsonl"
    results = Results(options={one.policy: {}})
    results.append(one)
    assert Results.read(stored(path, results)) == results


def test_where_chooses_passes_by_their_keys():
    results = some_results()
    assert {key.policy for key in results.where(policy="online").passes} == {"online"}
    assert len(results.where(start="cold", policy="online")) == 3
    assert results.where(seed=5).policies() == []
    assert (results.policies(), results.texts()) == (["static-0", "online"], ["t/0", "t/1", "t/2"])
    with pytest.raises(TypeError, match="no 'colour'"):
        results.where(colour="red")


def test_a_label_that_stands_for_something_else_loses_its_older_passes():
    results = some_results()
    key, other = Key("online", start="warm"), Key("online", start="cold")
    results.replace(key, {"name": "online", "window": 20}, [])
    assert results.options["online"]["window"] == 20
    assert other not in results.passes
    assert len(results.where(policy="static-0")) == 6


def test_only_what_was_asked_for_last_is_read(tmp_path):
    path = stored(tmp_path / "results.jsonl")
    keys = list(some_results().passes)
    with ResultsWriter(path, SOURCE, size=read_stored(path).size) as writer:
        writer.request([keys[0], Key("later", start="cold", seed=9)], {})
    found = Results.read(path)
    assert list(found.passes) == keys[:1]
    assert not found.complete
    assert list(read_stored(path).results.passes) == keys


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [], "the file of results is empty"),
        (
            lambda lines: ['{"kind":"trace","version":1}', *lines[1:]],
            r":1: this is no file of results; `paceline replay`",
        ),
        (
            lambda lines: ['{"kind":"replay","version":2}', *lines[1:]],
            ":1: results of version 2; this paceline reads version 3: make them anew with `paceline replay --force`",
        ),
        (lambda lines: [*lines[:2], "{", *lines[3:]], ":3: this line is damaged"),
        (lambda lines: [*lines[:2], '{"kind":"pass"}', *lines[3:]], ":3: this line is damaged"),
    ],
)
def test_damaged_files_are_told_with_the_line(tmp_path, damage, message):
    path = stored(tmp_path / "results.jsonl")
    lines = damage(path.read_text().splitlines())
    path.write_text("".join(line + "\n" for line in lines))
    with pytest.raises(TraceError, match=message):
        Results.read(path)


def test_a_last_line_that_was_cut_off_costs_that_line_only(tmp_path):
    path = stored(tmp_path / "results.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b'{"kind":"pass"') + 40])
    found = Results.read(path)
    assert not found.complete
    assert list(found) == list(some_results())[:-3]


def test_no_byte_of_a_file_changes_without_notice(tmp_path):
    path = stored(tmp_path / "results.jsonl", some_results().where(policy="online", start="warm"))
    whole, data = Results.read(path), path.read_bytes()
    for place in range(0, len(data), 3):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        try:
            found = Results.read(path)
        except TraceError as error:
            assert str(path) in str(error)  # noqa: PT017 - either is right
        else:
            assert not found.complete
            assert found.source == whole.source
            assert set(map(str, found)) <= set(map(str, whole))


def test_without_pandas_a_frame_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr("paceline.core.environment.find_spec", lambda _name: None)
    with pytest.raises(PacelineError, match="needs pandas, which is not installed; pip install pandas"):
        some_results().to_pandas()


def test_a_frame_has_a_row_for_each_measurement():
    pytest.importorskip("pandas")
    frame = some_results().to_pandas()
    assert len(frame) == 12
    assert frame[frame.policy == "online"].tokens.sum() == 6 * 8
    assert {"order", "start", "seed", "rounds", "decode_s", "gammas"} <= set(frame.columns)


def test_a_notebook_shows_a_row_a_policy_with_names_as_they_are():
    results = some_results()
    hostile = "<script>"
    results.append(replace(next(iter(results)), policy=hostile))
    html = results._repr_html_()
    assert html.count("<tr>") == 4
    assert "&lt;script&gt;" in html
