"""A pass gives the logits of transformers, in whatever blocks a text is read."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.graph import GraphTarget, products
from paceline.backends.graph.engine import GraphEngine

from ..tiny_models import VOCABULARY, tiny_model
from .pairs import FAMILIES, model_of, pair

torch.set_num_threads(1)

ROTATIONS = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
}
TEXT = [(11 + 7 * i * i) % VOCABULARY for i in range(60)]


def blockwise(engine, text, lengths):
    """Return the logits of all tokens, read in blocks of these lengths, in turns."""
    cache, found, at, turn = engine.new_cache(), [], 0, 0
    while at < len(text):
        block = text[at : at + lengths[turn % len(lengths)]]
        found.append(engine.feed(cache, block, rows=len(block)))
        at, turn = at + len(block), turn + 1
    engine.free(cache)
    return torch.cat(found)


def expected(model, text=TEXT):
    with torch.inference_mode():
        return model(torch.tensor([text])).logits[0]


@settings(deadline=None, max_examples=40)
@given(family=st.sampled_from(FAMILIES), lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_blocks_of_any_length_give_the_logits_of_one_pass(family, lengths):
    engine = pair(family)[0].engine
    found = blockwise(engine, TEXT, lengths)
    assert torch.allclose(found, expected(model_of(family)), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.3)])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_matrices_give_the_same_logits_but_for_rounding(family, dtype, tolerance, monkeypatch):
    monkeypatch.setattr(products, "LEAST_BYTES", 0)
    engine = GraphEngine(model_of(family, dtype))
    assert engine.products.rows == 4
    found, wanted = blockwise(engine, TEXT, [3, 1, 8, 5]), expected(model_of(family, dtype))
    assert torch.allclose(found, wanted, rtol=0, atol=tolerance)


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_scaled_positions_are_those_of_transformers(rotation):
    model = tiny_model("llama", rope_parameters={**ROTATIONS[rotation], "rope_theta": 1e4})
    plain = expected(tiny_model("llama"))
    found, wanted = blockwise(GraphEngine(model), TEXT, [7]), expected(model)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-10)
    assert not torch.allclose(wanted, plain, atol=1e-3)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("qwen3", {"attention_bias": True}),
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"num_key_value_heads": 1}),
        ("llama", {"num_key_value_heads": 4}),
    ],
)
def test_what_a_family_may_have_besides_is_honoured(family, changes):
    model = tiny_model(family, **changes)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.normal_()
    found = blockwise(GraphEngine(model), TEXT, [5, 2])
    assert torch.allclose(found, expected(model), rtol=0, atol=1e-10)


@pytest.mark.parametrize("bias", [False, True])
def test_wide_packed_matrices_give_the_same_logits(bias):
    model = tiny_model("llama", dtype=torch.float32, intermediate_size=2100, mlp_bias=bias)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.normal_()
    engine = GraphEngine(model, deterministic=True)
    assert torch.allclose(blockwise(engine, TEXT, [4]), expected(model), rtol=0, atol=2e-3)


def test_a_long_prompt_is_read_past_the_table_of_masks():
    model = tiny_model("llama", max_position_embeddings=2048)
    text = [(3 + 5 * i * i) % VOCABULARY for i in range(1100)]
    session = GraphTarget(model).open(text)
    assert torch.allclose(session.logits(), expected(model, text)[-1], rtol=0, atol=1e-9)


def test_only_the_rows_asked_for_come_out_and_they_are_the_last():
    engine = pair("qwen3")[0].engine
    whole = blockwise(engine, TEXT[:20], [20])
    for rows in (1, 3, 19, 20):
        cache = engine.new_cache()
        found = engine.feed(cache, TEXT[:20], rows=rows)
        assert torch.allclose(found, whole[-rows:], rtol=0, atol=1e-12)
        engine.free(cache)


def test_taking_a_model_apart_leaves_no_second_copy_of_its_matrices():
    model = tiny_model("llama")
    wanted = expected(model)
    engine = GraphEngine(model, consume=True)
    assert all(layer.self_attn.q_proj.weight is None for layer in model.model.layers)
    assert torch.allclose(blockwise(engine, TEXT, [9]), wanted, rtol=0, atol=1e-10)
