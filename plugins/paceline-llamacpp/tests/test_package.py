"""The block of the backend, and what can be told without llama.cpp."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import paceline
import paceline_llamacpp
from paceline_llamacpp import LlamaCppConfig

ROOT = Path(__file__).resolve().parents[1]


def test_the_backend_plays_both_roles_under_its_name():
    catalogue = paceline.Catalogue.load([paceline_llamacpp], installed=False)
    assert catalogue.broken == ()
    assert catalogue.playing("target") == catalogue.playing("draft") == ("llama-cpp",)


def test_naming_the_backend_loads_neither_arrays_nor_llama_cpp():
    code = (
        "import sys, paceline, paceline_llamacpp; paceline.Catalogue.load([paceline_llamacpp], installed=False);"
        "print(*{'numpy', 'llama_cpp', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_option_is_in_the_readme_with_a_description():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    options = {name: info for name, info in LlamaCppConfig.model_fields.items() if name != "backend"}
    assert [
        name for name, info in options.items() if f"| `{name}` |" not in text or not info.description
    ] == []


def test_where_llama_cpp_is_not_there_its_files_are_left_to_other_backends(monkeypatch):
    catalogue = paceline.Catalogue.load([paceline_llamacpp], installed=False)
    monkeypatch.setattr(
        "paceline_llamacpp.config.missing_library", lambda: ("llama-cpp-python is not installed",)
    )
    assert catalogue.block_for("some.gguf") is None


def test_files_of_its_kind_are_taken_and_others_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("paceline_llamacpp.config.missing_library", tuple)
    (tmp_path / "plain").mkdir()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "model.gguf").touch()
    catalogue = paceline.Catalogue.load([paceline_llamacpp], installed=False)
    for model in ("some.gguf", str(tmp_path / "one")):
        block = catalogue.block_for(model)
        assert block is not None
        assert (block.backend, block.model) == ("llama-cpp", model)
    for model in ("org/model", "gpt2", str(tmp_path / "plain"), str(tmp_path), "json", "no such.name"):
        assert catalogue.block_for(model) is None


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nowhere", "there is no file nowhere, and no package of that name"),
        (str(ROOT), "is no GGUF file and holds none"),
    ],
)
def test_a_model_that_is_none_is_refused_with_what_to_do(model, message):
    with pytest.raises(paceline.BackendError, match=message):
        _ = LlamaCppConfig(model=model).path
