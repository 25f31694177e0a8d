"""Identity of an hf model: the same in every process, another one where acceptance or times may differ."""

import json
from pathlib import Path

import pytest
import torch

from paceline.backends.transformers import HfConfig
from paceline.backends.transformers.models import HfTarget

from ..tiny_models import tiny_model
from ..torch.stand_ins import folder_of

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("llama"))


def identity(folder, **options):
    return HfConfig(model=str(folder), device="cpu", **options).build_target().identity


def test_a_folder_is_known_by_place_settings_format_and_device(folder):
    found = identity(folder)
    assert found == identity(folder)
    place, digest, dtype, device = found.rsplit(" ", 3)
    assert (place, len(digest), dtype, device) == (str(Path(folder).resolve()), 12, "float64", "cpu")
    assert identity(folder, dtype="bfloat16") != found


def test_a_relative_name_is_the_same_folder(folder, monkeypatch):
    monkeypatch.chdir(Path(folder).parent)
    assert identity(Path(folder).name) == identity(folder)


def test_other_settings_in_the_same_place_are_another_model(tmp_path):
    folder = folder_of(tmp_path)
    before = identity(folder)
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"rope_theta": 20000.0}))
    assert identity(folder) != before


def test_a_model_without_a_folder_is_known_by_its_name_and_settings():
    small, large = tiny_model("llama"), tiny_model("llama", num_hidden_layers=3)
    assert HfTarget(small, name="a").identity == HfTarget(small, name="a").identity
    assert len({HfTarget(small, name="a").identity, HfTarget(small, name="b").identity}) == 2
    assert HfTarget(small, name="a").identity != HfTarget(large, name="a").identity


def test_a_model_of_the_hub_is_known_by_its_commit():
    model = tiny_model("llama")
    model.config._commit_hash = "0123456789abcdef0123"
    assert HfTarget(model, name="org/name").identity.startswith("org/name 0123456789ab ")


def test_a_draft_says_the_same_of_the_same_model(folder):
    block = HfConfig(model=str(folder), device="cpu")
    target = block.build_target()
    assert block.build_draft(target).identity == target.identity
