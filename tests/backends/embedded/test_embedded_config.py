"""The shipped pair is found in the package and loads like any other model."""

import shutil

import pytest
import torch

from paceline.backends.embedded import config as embedded
from paceline.backends.embedded.config import EmbeddedConfig
from paceline.core.config.load import load_config
from paceline.core.errors import BackendError

from ..tiny_models import tiny_model

torch.set_num_threads(1)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Stand-ins for the three models, in the folders that the block expects."""
    monkeypatch.setattr(embedded, "WEIGHTS", tmp_path)
    for seed, name in enumerate(embedded.FOLDERS.values()):
        tiny_model("llama", seed=seed, dtype=torch.bfloat16, num_hidden_layers=1).save_pretrained(
            tmp_path / name
        )
    return tmp_path


@pytest.fixture(autouse=True)
def without_tokenizer(monkeypatch):
    monkeypatch.setattr("paceline.backends.torch.loading.load_tokenizer", lambda config: None)


def test_the_block_needs_no_options(weights):
    block = EmbeddedConfig()
    target = block.build_target()
    draft = block.build_draft(target)
    assert target.engine.name.endswith("target")
    assert draft.engine.name.endswith("draft-small")
    assert target.engine.backend == draft.engine.backend == "graph"
    assert target.engine.dtype == torch.float32
    assert len(target.open([1, 2]).verify(draft.open([1, 2]).draft(3, None)).tokens) >= 1


def test_transformers_can_run_the_pair_as_well(weights):
    block = EmbeddedConfig(engine="hf")
    target = block.build_target()
    assert target.engine.backend == block.build_draft(target).engine.backend == "hf"
    assert target.engine.model.dtype == torch.float32


@pytest.mark.parametrize(
    ("size", "folder"), [("target", "target"), ("small", "draft-small"), ("medium", "draft-medium")]
)
def test_any_size_can_be_asked_for(weights, size, folder):
    assert EmbeddedConfig(size=size).build_target().engine.name.endswith(folder)


def test_the_tokenizer_lies_beside_the_target_only(weights):
    block = EmbeddedConfig(size="medium").source("small")
    assert block.tokenizer == str(weights / "target")
    assert block.model == str(weights / "draft-medium")
    assert block.local_files_only


def test_missing_weights_say_how_to_get_them(weights):
    shutil.rmtree(weights / "draft-small")
    target = EmbeddedConfig().build_target()
    with pytest.raises(BackendError, match=r"draft-small; reinstall paceline"):
        EmbeddedConfig().build_draft(target)


def test_what_the_engine_refuses_is_said_of_the_backend_that_was_asked_for(weights):
    run = load_config({"target": {"backend": "embedded", "device": "abacus"}, "drafts": {}})
    [problem] = run.target.check_target(run).problems
    assert problem.startswith("embedded: torch cannot use the device 'abacus'")
    with pytest.raises(BackendError, match=r"^embedded: torch cannot use the device 'abacus'"):
        run.target.build_target()
