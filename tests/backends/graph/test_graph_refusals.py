"""Models that the backend cannot run are refused by name, with the way out, before their weights are read."""

import pytest
import torch
from transformers import CONFIG_MAPPING

from paceline.backends.graph import GraphConfig, GraphTarget
from paceline.backends.graph.shape import FAMILIES, read_shape
from paceline.backends.transformers import reference
from paceline.core.config.load import load_config
from paceline.core.errors import BackendError

from ..tiny_models import tiny_model
from ..torch.stand_ins import folder_of, tokenizer_of

torch.set_num_threads(1)


def config_of(family="llama", **changes):
    return CONFIG_MAPPING[family](**changes)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shape_of_a_family_is_read_from_its_configuration(family):
    model = tiny_model(family)
    shape = read_shape(model.config, "mine")
    assert (shape.family, shape.layers, shape.heads, shape.kv_heads, shape.head_dim) == (family, 2, 4, 2, 8)
    assert (shape.hidden, shape.inner, shape.vocabulary, shape.positions) == (32, 48, 96, 512)
    assert shape.head_norms == hasattr(model.model.layers[0].self_attn, "q_norm")
    assert shape.window == (8 if family == "mistral" else None)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (config_of("gpt2"), "is a gpt2 model; this backend runs llama, mistral, qwen2, qwen3"),
        (config_of("gemma2"), "is a gemma2 model"),
        (config_of(hidden_act="gelu"), "has the activation 'gelu'"),
        (
            config_of(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}),
            "has rotary positions of type 'dynamic'; this backend knows default, linear, llama3, yarn",
        ),
        (
            config_of(
                rope_parameters={
                    "rope_type": "longrope",
                    "rope_theta": 1e4,
                    "short_factor": [1.0] * 64,
                    "long_factor": [2.0] * 64,
                    "original_max_position_embeddings": 1024,
                }
            ),
            "has rotary positions of type 'longrope'",
        ),
        (
            config_of(
                rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
            ),
            "turns only a part of each head",
        ),
        (config_of(quantization_config={"quant_method": "bitsandbytes"}), "has quantised weights"),
        (
            config_of("qwen3", num_hidden_layers=2, layer_types=["full_attention", "chunked_attention"]),
            "has layers of type chunked_attention",
        ),
    ],
)
def test_what_the_backend_does_not_know_is_refused_by_name(config, found):
    with pytest.raises(BackendError) as caught:
        read_shape(config, "odd")
    assert str(caught.value).startswith(f"graph: odd {found}")
    assert "Use `backend: hf` for this model" in str(caught.value)


def test_a_window_is_refused_where_a_context_reaches_beyond_it():
    model = tiny_model("mistral")
    with pytest.raises(
        BackendError, match=r"mine sees 8 tokens back.*set `max_context: 8` or less, or use `backend: hf`"
    ):
        GraphTarget(model, name="mine")
    target = GraphTarget(model, max_context=8)
    wanted = model.generate(torch.tensor([[1, 2, 3]]), do_sample=False, max_new_tokens=5, pad_token_id=0)
    session, found = target.open([1, 2, 3]), [1, 2, 3]
    for _ in range(5):
        tokens = session.verify(None).tokens
        session.advance(tokens)
        found += tokens
    assert found == wanted[0].tolist()


def test_qwen_layers_with_a_window_count_as_well_and_those_without_do_not():
    options = {"num_hidden_layers": 2, "use_sliding_window": True, "sliding_window": 64}
    assert read_shape(config_of("qwen3", max_window_layers=1, **options), "q").window == 64
    assert read_shape(config_of("qwen3", max_window_layers=2, **options), "q").window is None
    assert read_shape(config_of("qwen2", num_hidden_layers=2), "q").window is None


def test_a_context_beyond_the_positions_is_refused():
    with pytest.raises(BackendError, match="max_context is 600, but mine has positions for 512 tokens"):
        GraphTarget(tiny_model("llama"), name="mine", max_context=600)


def test_a_class_of_its_own_is_refused_though_its_configuration_looks_right():
    model = tiny_model("llama")
    model.__class__ = type("PatchedForCausalLM", (type(model),), {})
    with pytest.raises(BackendError, match="mine is a PatchedForCausalLM, not the LlamaForCausalLM"):
        GraphTarget(model, name="mine")


def test_weights_of_several_number_formats_are_refused():
    model = tiny_model("llama")
    model.model.layers[0].self_attn.q_proj.to(torch.float32)
    with pytest.raises(BackendError, match=r"not of one kind: torch.float32 on cpu, torch.float64 on cpu"):
        GraphTarget(model, name="mixed")


def test_a_folder_gives_a_pair_that_works_together(tmp_path):
    folder = folder_of(tmp_path, tokenizer=tokenizer_of(eos="<end>"))
    block = GraphConfig(model=folder, device="cpu", local_files_only=True)
    target = block.build_target()
    draft = block.build_draft(target)
    assert target.codec.decode(target.codec.encode("abc")) == "a b c"
    assert target.open([1, 2, 3]).verify(draft.open([1, 2, 3]).draft(4, None)).accepted == 4
    assert "graph" in target.identity


def test_a_model_taken_apart_is_loaded_anew_for_comparisons_once_they_run(tmp_path, monkeypatch):
    folder = folder_of(tmp_path)
    block = GraphConfig(model=folder, device="cpu", local_files_only=True)
    target = block.build_target()
    run = load_config({"target": block.model_dump(), "drafts": {"small": block.model_dump()}})
    ways = block.reference_modes(run, target, block.build_draft(target))
    assert list(ways) == ["hf generate", "hf lookup", "hf assisted", "hf adaptive"]
    loaded, load = [], reference.load_model
    monkeypatch.setattr(reference, "load_model", lambda config: loaded.append(config) or load(config))
    session = target.open([1, 2, 3])
    expected = list(session.verify(None).tokens)
    assert [ways["hf generate"]([1, 2, 3], 1) for _ in range(2)] == [expected] * 2
    assert loaded == [run.target]
    assert ways["hf assisted"]([1, 2, 3], 1) == ways["hf adaptive"]([1, 2, 3], 1) == expected
    assert loaded == [run.target, run.drafts["small"]]


def test_a_draft_with_another_tokenizer_gets_its_text_re_encoded(tmp_path):
    target = GraphConfig(
        model=folder_of(tmp_path / "target", tokenizer=tokenizer_of("abcdef")), device="cpu"
    ).build_target()
    draft = GraphConfig(
        model=folder_of(tmp_path / "draft", tokenizer=tokenizer_of("fedcba")), device="cpu"
    ).build_draft(target)
    assert "re-encoded" in draft.identity


def test_what_can_be_refused_is_refused_before_the_weights_are_read(tmp_path):
    folder = folder_of(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not even read")
    with pytest.raises(BackendError, match="max_context is 513"):
        GraphConfig(model=folder, max_context=513, local_files_only=True).build_target()
    tiny_model("gpt2").config.save_pretrained(tmp_path)
    with pytest.raises(BackendError, match="is a gpt2 model"):
        GraphConfig(model=folder, local_files_only=True).build_draft(None)


def test_a_folder_without_configuration_is_refused(tmp_path):
    with pytest.raises(BackendError, match=r"^graph: cannot load .* has no config.json"):
        GraphConfig(model=str(tmp_path), local_files_only=True).build_target()
