"""GGUF files: names that stand for one."""

import pytest

import paceline
from paceline import gguf_file


def test_a_file_stands_for_itself_and_a_folder_for_the_one_in_it(tmp_path):
    assert gguf_file("nowhere/model.gguf").name == "model.gguf"
    (tmp_path / "model.gguf").touch()
    assert gguf_file(str(tmp_path)) == tmp_path / "model.gguf"
    (tmp_path / "config.json").touch()
    assert gguf_file(str(tmp_path)) is None  # transformers reads the folder


def test_other_names_stand_for_none():
    assert [gguf_file(name) for name in ("gpt2", "org/model", "json", "no such.name")] == [None] * 4


def test_a_package_stands_for_the_file_that_it_holds(tmp_path, monkeypatch):
    folder = tmp_path / "some_weights"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "model.gguf").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert gguf_file("some_weights") == folder / "model.gguf"


def test_the_first_part_of_a_model_in_parts_stands_for_all(tmp_path):
    for part in (1, 2):
        (tmp_path / f"big-0000{part}-of-00002.gguf").touch()
    assert gguf_file(str(tmp_path)) == tmp_path / "big-00001-of-00002.gguf"


def test_a_folder_of_several_models_is_refused_by_their_names(tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(
        paceline.BackendError, match=r"holds 2 GGUF files; name one of them: a\.gguf, b\.gguf"
    ):
        gguf_file(str(tmp_path))
