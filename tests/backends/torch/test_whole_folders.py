"""Harmless files in a model's folder are not refused: tied weights, buffers of old versions, several files."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from paceline.backends.torch.loading import load_model
from paceline.backends.transformers import HfConfig

from ..tiny_models import FAMILIES, tiny_model

torch.set_num_threads(1)

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def logits(model):
    return model(torch.tensor([[1, 2, 3]])).logits


def loaded(folder):
    return load_model(HfConfig(model=str(folder), device="cpu", local_files_only=True))


def rewrite(folder, change):
    known = load_file(folder / WEIGHTS)
    change(known)
    save_file(known, folder / WEIGHTS, metadata={"format": "pt"})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [False, True], ids=["", "tied"])
def test_a_model_of_each_family_is_whole_with_and_without_a_head_of_its_own(family, tied, tmp_path):
    model = tiny_model(family, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(loaded(tmp_path)), logits(model))


def test_buffers_of_old_versions_and_other_names_of_the_body_are_harmless(tmp_path):
    llama, gpt2 = tiny_model("llama"), tiny_model("gpt2")
    llama.save_pretrained(tmp_path / "llama")
    rewrite(
        tmp_path / "llama",
        lambda known: known.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}),
    )
    assert torch.equal(logits(loaded(tmp_path / "llama")), logits(llama))

    def as_it_once_was(known):
        for name in list(known):
            known[name.removeprefix("transformer.")] = known.pop(name)
        known["h.0.attn.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.uint8)

    gpt2.save_pretrained(tmp_path / "gpt2")
    rewrite(tmp_path / "gpt2", as_it_once_was)
    assert torch.equal(logits(loaded(tmp_path / "gpt2")), logits(gpt2))


def test_weights_in_several_files_and_under_another_name_are_read(tmp_path):
    model = tiny_model("llama")
    model.save_pretrained(tmp_path / "several", max_shard_size="20KB")
    assert len(json.loads((tmp_path / "several" / INDEX).read_text())["weight_map"]) > 1
    assert torch.equal(logits(loaded(tmp_path / "several")), logits(model))

    model.save_pretrained(tmp_path / "named")
    (tmp_path / "named" / WEIGHTS).rename(tmp_path / "named" / "mine.safetensors")
    settings = tmp_path / "named" / "config.json"
    settings.write_text(
        json.dumps({**json.loads(settings.read_text()), "transformers_weights": "mine.safetensors"})
    )
    assert torch.equal(logits(loaded(tmp_path / "named")), logits(model))
