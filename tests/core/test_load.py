"""From a run file to a decoder in one call."""

import pytest

import paceline

TOY = {"backend": "toy", "seed": 3}
RUN = {"target": TOY, "drafts": {"small": TOY}, "policy": "online", "generation": {"max_new_tokens": 9}}


def test_a_mapping_becomes_a_decoder_that_knows_the_runs_limit() -> None:
    done = paceline.load(RUN).generate("abc")
    assert len(done.tokens) == 9
    assert done.ended == "length"


def test_a_target_alone_is_a_run() -> None:
    done = paceline.load({"target": TOY}).generate("abc", max_new_tokens=40)
    assert done.tokens == paceline.load(RUN).generate("abc", max_new_tokens=40).tokens


def test_an_override_replaces_a_part_and_leaves_the_rest() -> None:
    decoder = paceline.load(RUN, policy={"name": "static", "gamma": 0})
    done = decoder.generate("abc")
    assert done.totals.drafted == 0
    assert len(done.tokens) == 9


def test_an_override_can_go_inside_a_part() -> None:
    done = paceline.load(RUN, **{"generation.max_new_tokens": 4}).generate("abc")
    assert len(done.tokens) == 4


def test_a_file_is_read_relative_to_where_the_program_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text("target: toy\ndrafts: {small: toy}\n", encoding="utf-8")
    with paceline.load("run.yaml", trace="today.jsonl") as decoder:
        decoder.generate("abc", max_new_tokens=3)
    assert (tmp_path / "today.jsonl").exists()


def test_a_wrong_override_is_named() -> None:
    with pytest.raises(paceline.ConfigError, match="override polcy"):
        paceline.load(RUN, polcy="static")
