"""Whatever is wrong with a model's folder, it is refused in words of ours: which folder, what in it, and what to do."""

import json
import os
import shutil
import struct
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from paceline.backends.graph import GraphConfig
from paceline.backends.transformers import HfConfig
from paceline.core.errors import BackendError

from .stand_ins import folder_of, tokenizer_of

torch.set_num_threads(1)

KINDS = {"hf": HfConfig, "graph": GraphConfig}
WEIGHTS, INDEX, PICKLE = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
NORM = "model.norm.weight"
QUERY = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Return a folder that nothing is wrong with, and the target of each backend that is made of it."""
    folder = Path(
        folder_of(tmp_path_factory.mktemp("sound"), tokenizer=tokenizer_of(eos="<end>"), dtype=torch.float32)
    )
    return folder, {name: block(name, folder).build_target() for name in KINDS}


def block(name, folder):
    return KINDS[name](model=str(folder), device="cpu", local_files_only=True)


def refusals(folder, targets):
    """Return what each backend says in each role."""
    said = {}
    for name, target in targets.items():
        for role in ("target", "draft"):
            with pytest.raises(BackendError) as caught:
                block(name, folder).build_draft(target) if role == "draft" else block(
                    name, folder
                ).build_target()
            said[name, role] = str(caught.value)
    return said


def settings_with(file, **changes):
    def damage(folder):
        known = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**known, **changes}))

    return damage


def content(file, text):
    return lambda folder: (folder / file).write_bytes(text)


def tensors(change):
    """Return what rewrites the weights after `change` was made to them."""

    def damage(folder):
        known = load_file(folder / WEIGHTS)
        change(known)
        save_file(known, folder / WEIGHTS, metadata={"format": "pt"})

    return damage


def header(change):
    """Return what rewrites the header of the weights after `change` was made to it."""

    def damage(folder):
        data = (folder / WEIGHTS).read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        known = json.loads(data[8 : 8 + length])
        change(known)
        text = json.dumps(known).encode()
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])

    return damage


def cut(file, count):
    def damage(folder):
        data = (folder / file).read_bytes()
        (folder / file).write_bytes(data[:count])

    return damage


def indexed(file, *, keep=True):
    """Return what puts the weights into a file of that name, and names it in an index."""

    def damage(folder):
        known = load_file(folder / WEIGHTS)
        if keep:
            (folder / file).parent.mkdir(exist_ok=True)
            if file.endswith(".bin"):
                torch.save(known, folder / file)
            else:
                shutil.copy(folder / WEIGHTS, folder / file)
        (folder / WEIGHTS).unlink()
        weight_map = dict.fromkeys(known, file)
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))

    return damage


def index_of(text):
    def damage(folder):
        (folder / WEIGHTS).unlink()
        (folder / INDEX).write_text(text)

    return damage


def explicit(file):
    def damage(folder):
        torch.save(load_file(folder / WEIGHTS), folder / PICKLE)
        settings_with("config.json", transformers_weights=file)(folder)

    return damage


def pickled(folder):
    torch.save(load_file(folder / WEIGHTS), folder / PICKLE)
    (folder / WEIGHTS).unlink()


def pipe(file):
    def damage(folder):
        (folder / file).unlink()
        os.mkfifo(folder / file)

    return damage


def whole_numbers(known):
    known[QUERY] = known[QUERY].to(torch.int32)


def renamed(known):
    known["surprise"] = known.pop(QUERY)


DAMAGES = {
    # What is never read.
    "a pickle beside nothing": (pickled, "pickled weights are never loaded"),
    "an index that names a pickle": (indexed(PICKLE), f"{INDEX} names '{PICKLE}'"),
    "an index that leads outside": (indexed("../elsewhere.safetensors"), "outside of the model"),
    "an index with a full path": (indexed("/elsewhere.safetensors", keep=False), "outside of the model"),
    "a config.json that names a pickle": (explicit(PICKLE), f"config.json names '{PICKLE}'"),
    "a config.json that leads outside": (explicit("../a.safetensors"), "outside of the model"),
    "a config.json with a number for weights": (explicit(5), "names '5' as weights"),
    "an adapter": (content("adapter_config.json", b"{}"), "merge it into its model"),
    "shards of a training run": (
        content("shard-00001-model-00001-of-00002.safetensors", b""),
        "shards of a training run",
    ),
    # Weights that are not those of the model.
    "no tensor": (tensors(dict.clear), "hold no tensor"),
    "a tensor less": (
        tensors(lambda known: known.pop(QUERY)),
        f"1 tensors are missing from the files ({QUERY})",
    ),
    "a tensor more": (
        tensors(lambda known: known.update(surprise=torch.zeros(1))),
        "1 tensors are not part of the model (surprise)",
    ),
    "a tensor renamed": (tensors(renamed), "are missing from the files"),
    "another shape": (
        tensors(lambda known: known.update({QUERY: torch.zeros(8, 32)})),
        f"{QUERY} is [8, 32], not [32, 32]",
    ),
    "a layer more": (settings_with("config.json", num_hidden_layers=3), "are missing from the files"),
    "a layer less": (settings_with("config.json", num_hidden_layers=1), "are not part of the model"),
    "a billion layers": (
        settings_with("config.json", num_hidden_layers=10**9),
        "speaks of 1000000000 layers",
    ),
    "a vocabulary of a billion": (settings_with("config.json", vocab_size=10**9), "describes a model of"),
    "a vocabulary of ten": (settings_with("config.json", vocab_size=10), "have another shape"),
    "another head": (settings_with("config.json", num_key_value_heads=4), "have another shape"),
    "whole numbers": (tensors(whole_numbers), f"the tensor {QUERY} is of the format I32"),
    "NaN": (tensors(lambda known: known[NORM].fill_(torch.nan)), "weights are damaged"),
    "infinity": (tensors(lambda known: known["lm_head.weight"].fill_(torch.inf)), "NaN or infinite"),
    # Weights that cannot be read.
    "empty weights": (content(WEIGHTS, b""), f"{WEIGHTS} is damaged or cut short"),
    "a cut header": (cut(WEIGHTS, 100), f"{WEIGHTS} is damaged or cut short"),
    "cut weights": (cut(WEIGHTS, -100), f"{WEIGHTS} is damaged or cut short"),
    "a huge header": (content(WEIGHTS, struct.pack("<Q", 2**62)), f"{WEIGHTS} is damaged or cut short"),
    "a format nobody knows": (
        header(lambda known: known[QUERY].update(dtype="Z9")),
        f"{WEIGHTS} is damaged or cut short",
    ),
    "an offset beyond the end": (
        header(lambda known: known[QUERY].update(data_offsets=[0, 2**60])),
        f"{WEIGHTS} is damaged or cut short",
    ),
    "a shape of astronomic size": (
        header(lambda known: known[QUERY].update(shape=[2**40, 2**40])),
        f"{WEIGHTS} is damaged or cut short",
    ),
    "weights that are a pipe": (pipe(WEIGHTS), "has no .safetensors weights"),
    "an index without its file": (
        indexed("a.safetensors", keep=False),
        "a.safetensors, which holds weights, is missing",
    ),
    "an index that is no JSON": (index_of("{"), f"{INDEX} is damaged"),
    "an index of nothing": (index_of('{"metadata": {}, "weight_map": {}}'), "names no tensors"),
    "an index of numbers": (index_of('{"metadata": {}, "weight_map": {"a": 5}}'), "names '5'"),
    # config.json.
    "no config.json": (lambda folder: (folder / "config.json").unlink(), "no config.json"),
    "config.json is a pipe": (pipe("config.json"), "config.json is damaged: it is no regular file"),
    "config.json is empty": (content("config.json", b""), "config.json is damaged: it is not JSON"),
    "config.json is binary": (
        content("config.json", b"\xff\x00\xfe"),
        "config.json is damaged: it is not UTF-8",
    ),
    "config.json is a list": (content("config.json", b"[1]"), "config.json is damaged: it holds a list"),
    "config.json is deep": (
        content("config.json", b"[" * 99999),
        "config.json is damaged: it is nested too deeply",
    ),
    "no model type": (content("config.json", b"{}"), "model_type"),
    "a model type nobody knows": (settings_with("config.json", model_type="abacus"), "abacus"),
    "a model type that is a list": (settings_with("config.json", model_type=["llama"]), "config.json"),
    "layers in words": (settings_with("config.json", num_hidden_layers="two"), "num_hidden_layers"),
    "no heads": (settings_with("config.json", num_attention_heads=0), "does not fit"),
    "an activation nobody knows": (settings_with("config.json", hidden_act="abacus"), "abacus"),
    "a number format nobody knows": (settings_with("config.json", dtype="abacus"), "abacus"),
    "a rotation nobody knows": (
        settings_with("config.json", rope_parameters={"rope_type": "abacus", "rope_theta": 1e4}),
        "abacus",
    ),
    # What else is read.
    "generation_config.json is cut": (
        content("generation_config.json", b'{"eos'),
        "generation_config.json is damaged",
    ),
    "an end in words": (settings_with("generation_config.json", eos_token_id="two"), "eos_token_id"),
    "tokenizer.json is cut": (cut("tokenizer.json", 300), "tokenizer.json is damaged: it is not JSON"),
    "tokenizer.json is empty": (content("tokenizer.json", b""), "tokenizer.json is damaged: it is not JSON"),
    "a tokenizer without a model": (settings_with("tokenizer.json", model=None), "tokenizer"),
    "tokenizer_config.json is a list": (
        content("tokenizer_config.json", b"[]"),
        "tokenizer_config.json is damaged",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_refused_by_both_backends_in_both_roles(name, sound, tmp_path):
    origin, targets = sound
    folder = shutil.copytree(origin, tmp_path / "model")
    damage, expected = DAMAGES[name]
    damage(folder)

    for where, said in refusals(folder, targets).items():
        assert str(folder) in said, where
        assert said.startswith(f"{where[0]}: "), where
        assert expected in said, where


def values():
    junk = [None, True, -1, 0, 7, 10**9, 1e308, float("nan"), "", "abc", [], [[1]], {}, "\x00"]
    return st.sampled_from(junk)


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_whatever_value_stands_in_a_file_of_settings_there_is_a_model_or_a_refusal(
    sound, data, tmp_path_factory
):
    origin, targets = sound
    folder = shutil.copytree(origin, tmp_path_factory.mktemp("any") / "model")
    file = data.draw(
        st.sampled_from(["config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json"])
    )
    known = json.loads((folder / file).read_text())
    known[data.draw(st.sampled_from(sorted(known)))] = data.draw(values())
    (folder / file).write_text(json.dumps(known))

    for name, target in targets.items():
        try:
            draft = block(name, folder).build_draft(target)
        except BackendError:
            continue
        else:
            draft.open([1, 2, 3]).draft(2, None)


@settings(deadline=None, max_examples=25)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut_off=st.booleans())
def test_whatever_happens_to_the_bytes_of_the_weights_there_is_a_model_or_a_refusal(
    sound, place, bit, cut_off, tmp_path_factory
):
    origin, targets = sound
    folder = shutil.copytree(origin, tmp_path_factory.mktemp("bytes") / "model")
    written = bytearray((folder / WEIGHTS).read_bytes())
    # Most of the bytes are weights, and a flipped bit there is another weight: the header is what matters.
    at = int(place * 2000)
    written[at] ^= 1 << bit
    (folder / WEIGHTS).write_bytes(written[:at] if cut_off else written)
    with suppress(BackendError):
        block("hf", folder).build_draft(targets["hf"])
