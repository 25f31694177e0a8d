"""Models that cannot be loaded are refused with the way out; those that can work together."""

import subprocess
import sys

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from paceline.backends.transformers import HfConfig
from paceline.backends.transformers import config as hf_config
from paceline.core.errors import BackendError

from .stand_ins import folder_of, tokenizer_of

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("llama"), tokenizer=tokenizer_of(eos="<end>"))


def refusal(**options):
    with pytest.raises(BackendError) as caught:
        HfConfig(local_files_only=True, **options).build_target()
    return str(caught.value)


def test_a_folder_gives_a_target_with_its_tokenizer(folder):
    target = HfConfig(model=folder, device="cpu").build_target()
    assert target.vocabulary == 96
    assert target.codec.decode(target.codec.encode("abc")) == "a b c"
    assert target.engine.model.dtype == torch.float64


def test_the_number_format_can_be_chosen(folder):
    assert (
        HfConfig(model=folder, device="cpu", dtype="bfloat16").build_target().engine.model.dtype
        == torch.bfloat16
    )


def test_a_draft_and_its_target_work_together(folder):
    block = HfConfig(model=folder, device="cpu", threads=1)
    target = block.build_target()
    draft = block.build_draft(target)
    verdict = target.open([1, 2, 3]).verify(draft.open([1, 2, 3]).draft(4, None))
    assert verdict.accepted == 4


def test_a_folder_without_tokenizer_has_no_codec(tmp_path):
    assert HfConfig(model=folder_of(tmp_path), device="cpu").build_target().codec is None


def test_a_missing_folder_is_named(tmp_path):
    message = refusal(model=str(tmp_path / "nowhere"))
    assert "nowhere" in message
    assert "no such folder" in message.lower()


def test_a_model_that_is_not_cached_is_named():
    message = refusal(model="nobody-at-all/no-such-model")
    assert "nobody-at-all/no-such-model" in message
    assert "check name, network and access rights" in message


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "model.bin").write_text("{}")
    assert "It is a file; name the folder" in refusal(model=str(tmp_path / "model.bin"))


def test_a_folder_without_configuration_is_refused(tmp_path):
    assert "no config.json" in refusal(model=str(tmp_path))


def test_pickled_weights_are_never_loaded(tmp_path):
    name = folder_of(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "kept")
    torch.save({}, tmp_path / "pytorch_model.bin")
    assert "pickled weights are never loaded" in refusal(model=name)


def test_an_encoder_decoder_folder_is_refused(tmp_path):
    config = T5Config(vocab_size=64, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    assert "decoder-only" in refusal(model=str(tmp_path))


def test_an_unknown_device_is_refused(folder):
    assert "torch cannot use the device 'abacus'" in refusal(model=folder, device="abacus")


def test_a_tokenizer_that_was_named_must_be_there(folder, tmp_path):
    assert "Name another one with `tokenizer:`" in refusal(model=folder, tokenizer=str(tmp_path))


def test_a_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    # Only what loads is imported anew: classes of a second copy would be others.
    monkeypatch.delitem(sys.modules, hf_config.HfConfig.loading, raising=False)
    monkeypatch.delitem(sys.modules, "paceline.backends.torch.loading", raising=False)
    monkeypatch.delattr("paceline.backends.torch.loading", raising=False)
    with pytest.raises(BackendError, match=r"pip install '\.\[hf\]'"):
        HfConfig(model="any").build_target()


def test_configuring_loads_no_torch():
    code = "import sys, paceline.backends, paceline.backends.transformers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-Ic", code], check=False).returncode == 0


@pytest.mark.parametrize(("found", "expected"), [(3, {3}), ([3, 5], {3, 5}), (None, set())])
def test_one_several_or_no_tokens_end_a_text(folder, found, expected):
    target = HfConfig(model=folder, device="cpu").build_target()
    target.engine.model.generation_config.eos_token_id = found
    target.engine.config.eos_token_id = None
    assert target.eos == expected


def test_the_end_token_of_the_model_stands_in_for_the_generation_settings(folder):
    target = HfConfig(model=folder, device="cpu").build_target()
    target.engine.model.generation_config.eos_token_id = None
    target.engine.config.eos_token_id = 7
    assert target.eos == {7}
