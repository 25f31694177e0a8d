"""The embedded pair as GGUF files in float32 writes what transformers writes, under any policy, beside other drafts."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from paceline import SampledDraft, Sampling, SpeculativeDecoder, load_config
from paceline.testing import ChaoticPolicy, ScriptedPolicy
from paceline_llamacpp import LlamaCppConfig

WEIGHTS = Path(str(files("paceline"))) / "backends" / "embedded" / "weights"
PROMPTS = ([7, 300, 41, 1022], list(range(50, 90)), [4000, 12, 9])
LENGTH = 40
NEAR = 5e-3
"""Logits closer than this are a near-tie, which rounding decides."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Write target and small draft as GGUF files."""
    for library in ("gguf", "llama_cpp", "torch", "safetensors"):
        pytest.importorskip(
            library, reason="make test-llamacpp builds an environment with all that this needs"
        )
    folder = tmp_path_factory.mktemp("pair")
    return {name: write(WEIGHTS / name, folder / f"{name}.gguf") for name in ("target", "draft-small")}


def write(source, path):
    """Write a Llama of transformers as GGUF in float32."""
    from safetensors.torch import load_file

    from paceline_llamacpp.tiny import Shape, finish, header

    config = json.loads((source / "config.json").read_text())
    shape = Shape(
        vocabulary=config["vocab_size"],
        width=config["hidden_size"],
        inner=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        shared_heads=config["num_key_value_heads"],
        context=config["max_position_embeddings"],
        rope_base=config["rope_parameters"]["rope_theta"],
        epsilon=config["rms_norm_eps"],
    )
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    tensors = {}
    for name, weight in load_file(source / "model.safetensors").items():
        numbers = weight.float().numpy()
        for head in ("q_proj", "k_proj"):
            if head in name:  # llama.cpp turns neighbours where transformers turns halves of a head
                heads = shape.heads if head == "q_proj" else shape.shared_heads
                numbers = numbers.reshape(heads, 2, -1, shape.width).swapaxes(1, 2).reshape(numbers.shape)
        place = name.removesuffix(".weight")
        layer = ""
        if place.startswith("model.layers."):
            number, _, place = place.removeprefix("model.layers.").partition(".")
            layer = f"blk.{number}."
        tensors[f"{layer}{names[place]}.weight"] = numbers
    writer = header(path, shape)
    writer.add_tokenizer_model("none")
    return finish(writer, tensors, path)


@pytest.fixture(scope="module")
def target(pair):
    return LlamaCppConfig(model=str(pair["target"]), cache_type="f32", block_multiple=2).build_target()


@pytest.fixture(scope="module")
def model():
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    return transformers.AutoModelForCausalLM.from_pretrained(WEIGHTS / "target", dtype=torch.float32)


def decode(target, drafts, policy, prompt):
    decoder = SpeculativeDecoder(target, drafts, policy, eos=frozenset())
    return decoder.generate(prompt, max_new_tokens=LENGTH).tokens


@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
def test_greedy_tokens_are_those_of_transformers_up_to_near_ties(target, model, prompt, record_property):
    import torch

    written = decode(target, {}, ScriptedPolicy([0]), prompt)
    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *written]])).logits[0, len(prompt) - 1 : -1].numpy()
    short_of_best = logits.max(axis=1) - logits[np.arange(LENGTH), list(written)]
    record_property("near-ties", int((short_of_best > 0).sum()))
    assert short_of_best.max() < NEAR


def test_logits_are_those_of_transformers(target, model):
    import torch

    session = target.open(PROMPTS[1])
    ours = session.logits()
    session.close()
    with torch.inference_mode():
        theirs = model(torch.tensor([PROMPTS[1]])).logits[0, -1].numpy()
    assert ours == pytest.approx(theirs, abs=1e-2)


def test_drafts_of_three_backends_never_change_the_text(target, pair):
    run = load_config(
        {
            "drafts": {
                "llama-cpp": {"backend": "llama-cpp", "model": str(pair["draft-small"])},
                "transformers": {"backend": "embedded", "size": "small"},
                "lookup": {"backend": "prompt-lookup"},
            }
        }
    )
    drafts = {name: block.build_draft(target) for name, block in run.drafts.items()}
    for seed, prompt in enumerate(PROMPTS):
        expected = decode(target, {}, ScriptedPolicy([0]), prompt)
        assert decode(target, drafts, ChaoticPolicy(seed, max_gamma=8), prompt) == expected
    # Both models are the same one, so each proposes what the other does.
    proposals = [
        drafts[name].open(PROMPTS[1]).draft(5, None).tokens for name in ("llama-cpp", "transformers")
    ]
    assert proposals[0] == proposals[1]


@pytest.mark.parametrize("name", ["llama-cpp", "transformers"])
def test_what_a_draft_draws_is_accepted_by_its_probability(target, pair, name):
    block = {"backend": "llama-cpp", "model": str(pair["target"])}
    if name == "transformers":
        block = {"backend": "embedded", "size": "target"}
    draft = load_config({"drafts": {"draft": block}}).drafts["draft"].build_draft(target)
    assert isinstance(draft, SampledDraft)
    decoder = SpeculativeDecoder(target, {"draft": draft}, ScriptedPolicy([4]), eos=frozenset())
    done = decoder.generate(PROMPTS[1], max_new_tokens=LENGTH, sampling=Sampling(temperature=1.5))
    # The draft is the target itself: what it draws is accepted. Taken for certain, hardly a token would be.
    assert done.totals.accepted > 0.95 * done.totals.drafted
