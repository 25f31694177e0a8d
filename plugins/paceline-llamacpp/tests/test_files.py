"""Files and settings that cannot be used are refused by name, before the first token."""

from __future__ import annotations

import pytest

import paceline
from paceline import BackendError, Capabilities, Readiness
from paceline_llamacpp import LlamaCppConfig

RUN = paceline.load_config({})


@pytest.fixture
def other(tmp_path, build):
    """Write a tiny model of another architecture."""
    import gguf

    def write(architecture, **numbers):
        path = tmp_path / f"{architecture}.gguf"
        writer = gguf.GGUFWriter(path, architecture)
        writer.add_vocab_size(8)
        writer.add_context_length(64)
        writer.add_embedding_length(32)
        writer.add_block_count(1)
        writer.add_tokenizer_model("none")
        writer.add_layer_norm_rms_eps(1e-5)
        for name, number in numbers.items():
            writer.add_uint32(f"{architecture}.{name.replace('__', '.')}", number)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        return path

    return write


def problem(model, **options):
    """Return why a model cannot be built, which its check before must have said as well."""
    config = LlamaCppConfig(model=str(model), **options)
    with pytest.raises(BackendError) as refused:
        config.build_target()
    return str(refused.value), config.check_target(RUN).problems


def test_a_file_of_another_format_is_refused_by_its_first_bytes(build, tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"PK\x03\x04....")
    refused, told = problem(tmp_path / "model.gguf")
    assert "is no GGUF file: it begins with b'PK" in refused
    assert told == (refused,)


def test_a_file_that_is_not_there_is_named(build, tmp_path):
    refused, told = problem(tmp_path / "none.gguf")
    assert "none.gguf cannot be read: No such file" in refused
    assert told == (refused,)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_truncated_file_is_refused_with_llama_cpps_reason(build, tiny, tmp_path, share):
    whole = tiny.read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BackendError, match=r"cut\.gguf cannot be loaded: .{10}"):
        LlamaCppConfig(model=str(path)).build_target()


def test_a_context_longer_than_the_model_knows_is_refused(build, tiny):
    refused, told = problem(tiny, context=4096)
    assert "context is 4096, and tiny.gguf was trained for 512 tokens; use 512 or less" in refused
    assert told == (refused,)


def test_layers_on_a_gpu_that_the_build_does_not_know_are_refused(build, tiny):
    refused, told = problem(tiny, gpu_layers=4)
    assert "this build of llama.cpp knows no GPU" in refused
    assert told == (refused,)


def test_a_cache_that_does_not_fit_the_heads_is_refused_with_what_to_do(build):
    with pytest.raises(BackendError, match=r"no context of .* with a cache of q8_0 can be made"):
        build(cache_type="q8_0")


def test_recurrent_models_are_refused_by_name(build, other):
    sizes = {"ssm__conv_kernel": 4, "ssm__inner_size": 64, "ssm__state_size": 16, "ssm__time_step_rank": 2}
    told = LlamaCppConfig(model=str(other("mamba", **sizes))).check_target(RUN).problems
    assert len(told) == 1
    assert "mamba.gguf has recurrent layers, whose memory cannot go back" in told[0]


def test_a_prompt_that_is_too_long_or_no_token_is_refused(build):
    target = build()
    with pytest.raises(BackendError, match=r"the prompt has 600 tokens, and tiny\.gguf has room for 512"):
        target.open([1] * 600)
    with pytest.raises(
        BackendError, match=r"400 in the prompt is no token of tiny\.gguf; tokens are 0 to 95"
    ):
        target.open([1, 400])
    with pytest.raises(BackendError, match="empty prompt"):
        target.open([])
    assert target.open([1]).verify(None).accepted == 0


def test_readiness_tells_size_vocabulary_and_build(build, tiny):
    known = LlamaCppConfig(model=str(tiny), cache_type="f32").check_target(RUN)
    assert known.problems == ()
    assert (known.vocabulary, known.codec) == (96, None)
    assert known.capabilities == Capabilities(sampling=True, processors=True)
    cache = 2 * 2 * (16 + 16) * 512 * 2 * 4  # layers, heads, keys and values, tokens, requests, bytes
    assert known.memory == {"cpu": tiny.stat().st_size + cache}
    assert any("llama.cpp of llama-cpp-python" in remark for remark in known.remarks)


class Spelling:
    """A tokenizer of its own kind."""

    def encode(self, text):
        return [len(word) for word in text.split()]

    def decode(self, tokens):
        return " ".join(map(str, tokens))


def test_a_draft_without_text_is_taken_and_one_that_spells_otherwise_refused(build, tiny, worded):
    target = build()
    assert LlamaCppConfig(model=str(tiny)).check_draft(RUN, Readiness(codec=Spelling())).problems == ()
    target.codec = Spelling()
    config = LlamaCppConfig(model=str(worded))
    with pytest.raises(BackendError, match="has another tokenizer than the target: 'The quick"):
        config.build_draft(target)
    (told,) = config.check_draft(RUN, Readiness(codec=Spelling())).problems
    assert "another tokenizer than the target" in told
