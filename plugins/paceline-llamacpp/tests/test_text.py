"""The tokenizer and the chat template of a GGUF file."""

from __future__ import annotations

import pytest

import paceline
from paceline import BackendError
from paceline_llamacpp import LlamaCppConfig


@pytest.fixture
def target(worded):
    return LlamaCppConfig(model=str(worded)).build_target()


@pytest.mark.parametrize("text", ["Hello, world", "  two  spaces\tand a tab", "Größe, 数学 🙂", "x\n\ny "])
def test_a_text_comes_back_as_it_was(target, text):
    assert target.codec.decode(target.codec.encode(text)) == text


def test_special_tokens_are_read_and_not_written(target):
    (end,) = target.eos
    assert target.codec.encode("a<|end|>")[-1] == end
    assert target.codec.decode([*target.codec.encode("a"), end]) == "a"


def test_an_empty_text_is_the_token_that_begins_or_ends_one(target):
    assert target.codec.encode("") == list(target.eos)


def test_a_number_that_is_no_token_is_refused_and_ends_no_process(target):
    with pytest.raises(BackendError, match=r"99999 is no token of worded\.gguf"):
        target.codec.decode([99999])


def test_messages_are_written_by_the_template(target):
    decoder = paceline.SpeculativeDecoder(target, {}, paceline.load_config({}).policy.build(0))
    messages = [{"role": "user", "content": "hi"}]
    written = target.codec.decode(decoder.encode_chat(messages))
    assert written == "[user] hi\nanswer:"
    assert target.codec.decode(decoder.encode_chat(messages, add_generation_prompt=False)) == "[user] hi\n"


def test_a_template_that_refuses_is_told_with_its_reason(target):
    decoder = paceline.SpeculativeDecoder(target, {}, paceline.load_config({}).policy.build(0))
    with pytest.raises(BackendError, match="the chat template refuses these messages: nobody"):
        decoder.encode_chat([{"role": "nobody", "content": "hi"}])


def test_a_text_goes_on_with_text(target):
    decoder = paceline.SpeculativeDecoder(target, {}, paceline.load_config({}).policy.build(0))
    assert isinstance(decoder.generate("Hello", max_new_tokens=8).text, str)


def test_the_token_that_differs_between_two_files_is_named(target, worded, spelt_otherwise):
    with pytest.raises(BackendError, match=r"token \d+ is 'last' for the target and 'other' for the draft"):
        LlamaCppConfig(model=str(spelt_otherwise)).build_draft(target)
    LlamaCppConfig(model=str(worded)).build_draft(target)
