"""Models that cannot take back a token are refused by name, before the first one."""

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from paceline.backends.transformers import HfDraft, HfTarget
from paceline.core.errors import BackendError
from paceline.core.testing.backends import check_backend

from ..tiny_models import tiny_model

torch.set_num_threads(1)

SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "pad_token_id": None,
}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "bos_token_id": None, "eos_token_id": None}


def made(kind, **options):
    return AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**options))


@pytest.mark.parametrize("role", [HfTarget, HfDraft])
def test_a_recurrent_model_is_refused(role):
    model = made("mamba", vocab_size=64, hidden_size=16, state_size=4, num_hidden_layers=1, pad_token_id=None)
    with pytest.raises(BackendError, match=r"snake .MambaForCausalLM.*attention layers"):
        role(model, name="snake")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("falcon_h1", {"mamba_d_ssm": 16, "mamba_n_heads": 2, "mamba_d_head": 8, "mamba_d_state": 4}),
        ("recurrent_gemma", {"num_hidden_layers": 3, "lru_width": 16, "attention_window_size": 8}),
    ],
)
def test_a_hybrid_with_a_running_state_is_refused(kind, options):
    model = made(kind, **{**SIZES, **HEADS, **options})
    with pytest.raises(BackendError, match=r"mixture .*cannot forget its last tokens.*cache layers found"):
        HfTarget(model, name="mixture")


def test_an_encoder_decoder_model_is_refused():
    config = CONFIG_MAPPING["t5"](vocab_size=64, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    with pytest.raises(BackendError, match="encoder-decoder"):
        HfTarget(AutoModelForSeq2SeqLM.from_config(config), name="t5")


def test_a_model_whose_cache_only_pretends_to_roll_back_is_refused(monkeypatch):
    model = tiny_model("llama")
    monkeypatch.setattr("transformers.cache_utils.DynamicLayer.crop", lambda self, count: None)
    with pytest.raises(BackendError, match="cannot forget its last tokens"):
        HfTarget(model)


def test_a_model_that_fails_on_its_first_token_is_refused():
    model = tiny_model("llama")
    model.model.layers[0].self_attn.q_proj.to(torch.float32)
    with pytest.raises(BackendError, match=r"cannot read a single token.*Try another dtype"):
        HfTarget(model, name="mixed")


def test_a_hybrid_that_records_its_past_is_accepted():
    options = {"num_key_value_heads": 2, "layer_types": ["conv", "full_attention"], "conv_L_cache": 3}
    config = CONFIG_MAPPING["lfm2"](**{**SIZES, **HEADS, **options, "block_multiple_of": 8})
    target = HfTarget(AutoModelForCausalLM.from_config(config, dtype=torch.float64))
    check_backend(lambda: target, logits=lambda session: session.logits().tolist(), max_examples=8)
