"""Processors and grammars of llama.cpp are applied at each drafted place, whatever is drafted."""

from __future__ import annotations

import re
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline import AllowedTokens, BackendError, LogitBias, Sampling, SpeculativeDecoder, load_config
from paceline.testing import ChaoticPolicy, ScriptedPolicy
from paceline_llamacpp import LlamaCppConfig

GRAMMAR = """
root ::= answer ("," answer)*
answer ::= "hello" | "he" [0-9]+
"""
WRITTEN = re.compile(r"(hello|he[0-9]+)(,(hello|he[0-9]+))*")
PROMPT = "hello he12 hello"


def drafts_for(target, path):
    blocks = {
        "model": LlamaCppConfig(model=str(path)),
        "lookup": load_config({"drafts": {"lookup": {"backend": "prompt-lookup"}}}).drafts["lookup"],
    }
    return {name: block.build_draft(target) for name, block in blocks.items()}


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 255), prompt=st.lists(st.integers(0, 95), min_size=1, max_size=6))
def test_greedy_tokens_are_those_chosen_one_by_one(build, smaller, seed, prompt):
    from paceline_llamacpp.processors import adapted

    target = build()

    def allowed(tokens):
        mixed = zlib.crc32(bytes([seed, *tokens[-2:]]))
        return None if mixed % 3 == 0 else {(mixed >> shift) % 96 for shift in (3, 7, 11)}

    def halved(tokens, scores):  # as llama-cpp-python calls them
        assert tokens.dtype == np.intc
        assert scores.dtype == np.single
        return np.where(np.arange(len(scores)) % 2 == tokens[-1] % 2, scores - 3, scores).astype(np.single)

    processors = (LogitBias({7: 4.0}), AllowedTokens(allowed), adapted(halved))
    text = list(prompt)
    for _ in range(14):
        session = target.open(text)
        row = session.logits()
        session.close()
        for processor in processors:
            row = processor(text, row)
        text.append(int(row.argmax()))
    decoder = SpeculativeDecoder(
        target,
        drafts_for(target, smaller),
        ChaoticPolicy(seed, max_gamma=5),
        eos=frozenset(),
        sampling=Sampling(temperature=0.0, processors=processors),
    )
    assert decoder.generate(prompt, max_new_tokens=14).tokens == tuple(text[len(prompt) :])


@pytest.fixture
def target(worded):
    return LlamaCppConfig(model=str(worded), cache_type="f32").build_target()


def decode(target, drafts, policy, sampling):
    return SpeculativeDecoder(target, drafts, policy, sampling=sampling).generate(PROMPT, max_new_tokens=24)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_a_text_under_a_grammar_is_written_by_it_whatever_is_drafted(target, worded, seed, temperature):
    from paceline_llamacpp.processors import grammar_processor

    begins = len(target.codec.encode(PROMPT))

    def constrained(seed):
        # The end is made unlikely, so that texts have some length.
        processors = (LogitBias({258: -8.0}), grammar_processor(target, GRAMMAR, prompt_tokens=begins))
        return Sampling(temperature=temperature, processors=processors, seed=seed)

    drafts = drafts_for(target, worded)
    done = decode(target, drafts, ChaoticPolicy(seed, max_gamma=6), constrained(seed))
    text = done.text if done.ended == "eos" else done.text.rpartition(",")[0]
    assert not text or WRITTEN.fullmatch(text)
    if not temperature:
        assert done.tokens == decode(target, {}, ScriptedPolicy([0]), constrained(0)).tokens
        # A draft without processors proposes what the grammar forbids, and costs nothing but time.
        free = {"lookup": drafts["lookup"]}
        assert done.tokens == decode(target, free, ScriptedPolicy([5]), constrained(0)).tokens


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text("helo0123456789,x", max_size=90).map(lambda text: f"he1{text}") | st.text("helo1,x"),
        max_size=6,
    )
)
def test_what_a_grammar_allows_depends_on_the_text_alone(worded, texts):
    from paceline_llamacpp.processors import grammar_processor

    target = LlamaCppConfig(model=str(worded)).build_target()
    used = grammar_processor(target, GRAMMAR, prompt_tokens=1)
    for text in texts:
        tokens = [5, *(target.codec.encode(text) if text else [])]
        fresh = grammar_processor(target, GRAMMAR, prompt_tokens=1)
        assert used.allowed(tokens) == fresh.allowed(tokens)
        if WRITTEN.fullmatch(text):
            assert 258 in fresh.allowed(tokens)


def test_a_grammar_of_llama_cpp_python_and_of_a_schema_is_taken(target):
    from llama_cpp import LlamaGrammar

    from paceline_llamacpp.processors import grammar_processor

    schema = LlamaGrammar.from_json_schema('{"enum": ["he", "hello"]}', verbose=False)
    processor = grammar_processor(target, schema, prompt_tokens=len(target.codec.encode(PROMPT)))
    done = decode(target, {}, ScriptedPolicy([0]), Sampling(temperature=0.0, processors=(processor,)))
    assert done.text.strip() in ('"he"', '"hello"')


def test_a_grammar_that_cannot_be_used_is_refused(target, build):
    from paceline_llamacpp.processors import grammar_processor

    for grammar, root in (("root ::= (", "root"), ("", "root"), (GRAMMAR, "nothing")):
        with pytest.raises(BackendError, match=r"llama\.cpp refuses the grammar with the root"):
            grammar_processor(target, grammar, prompt_tokens=1, root=root)
    with pytest.raises(BackendError, match="have no text that a grammar could judge"):
        grammar_processor(build(), GRAMMAR, prompt_tokens=1)


@pytest.mark.parametrize("kind", [list, np.array])
def test_an_adapted_processor_answers_in_the_kind_of_the_row(kind):
    from paceline_llamacpp.processors import adapted

    answer = adapted(lambda tokens, scores: scores + tokens[0])([2], kind([1.0, 2.0]))
    assert type(answer) is type(kind([1.0]))
    assert list(answer) == [3.0, 4.0]
