"""Models of the hub, from a cache that was filled without a network."""

import json

import huggingface_hub.constants
import pytest
import torch

from paceline.backends.graph import GraphConfig
from paceline.backends.torch import checkpoint
from paceline.backends.transformers import HfConfig
from paceline.core.errors import BackendError

from .stand_ins import folder_of, tokenizer_of

torch.set_num_threads(1)

COMMIT = "a" * 40
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    """Return the folder where the cache has the files of `me/tiny`."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--me--tiny" / "snapshots" / COMMIT
    (tmp_path / "models--me--tiny" / "refs").mkdir(parents=True)
    (tmp_path / "models--me--tiny" / "refs" / "main").write_text(COMMIT)
    folder_of(folder, tokenizer=tokenizer_of(eos="<end>"), dtype=torch.float32)
    return folder


def refusals():
    said = []
    for kind in (HfConfig, GraphConfig):
        with pytest.raises(BackendError) as caught:
            kind(model="me/tiny", device="cpu", local_files_only=True).build_target()
        said.append(str(caught.value))
    return said


def test_a_model_of_the_hub_is_known_by_its_commit(snapshot):
    target = HfConfig(model="me/tiny", device="cpu", local_files_only=True).build_target()
    assert target.identity == f"me/tiny {COMMIT[:12]} float32 cpu"


def test_damaged_weights_are_named(snapshot):
    (snapshot / WEIGHTS).write_bytes((snapshot / WEIGHTS).read_bytes()[:-5])
    assert all("'me/tiny'. The file model.safetensors is damaged or cut short" in said for said in refusals())


def test_an_index_that_names_a_pickle_is_refused(snapshot):
    (snapshot / WEIGHTS).unlink()
    (snapshot / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"a": "pytorch_model.bin"}}))
    assert all("names 'pytorch_model.bin' as weights" in said for said in refusals())


def test_weights_that_are_not_here_and_may_not_be_downloaded_are_named(snapshot):
    (snapshot / WEIGHTS).unlink()
    (snapshot / "pytorch_model.bin").write_bytes(b"")
    assert all("no .safetensors weights on this machine" in said for said in refusals())
    assert all("pickled weights are never loaded" in said for said in refusals())
    (snapshot / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"a": "one.safetensors"}}))
    assert all("Its weights (one.safetensors) are not on this machine" in said for said in refusals())


def test_a_repository_of_pickles_is_refused_before_transformers_is_asked(snapshot, monkeypatch):
    (snapshot / WEIGHTS).unlink()
    monkeypatch.setattr(checkpoint, "file_exists", lambda repo, name, revision: False)
    monkeypatch.setattr(checkpoint, "is_offline_mode", lambda: False)
    monkeypatch.setattr("paceline.backends.torch.checkpoint._Place.offline", False)
    with pytest.raises(BackendError, match=r"no \.safetensors weights, and pickled weights are never loaded"):
        HfConfig(model="me/tiny", device="cpu", local_files_only=True).build_target()
