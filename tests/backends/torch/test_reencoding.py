"""The same text in tokens of another tokenizer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.torch.reencoding import PATIENCE, SPAN, Reencoder, continuation, opening, spell
from paceline.backends.torch.tokenizers import TokenizerCodec

from .stand_ins import tokenizer_of
from .trained import KINDS, TEXT, trained

kinds = st.sampled_from(KINDS)
exact = st.sampled_from(["fine", "coarse", "spaced"])
texts = st.lists(
    st.sampled_from([*TEXT.split(" ")[:40], "zebra", "🙂🙂", "  ", "\n\n", "é", "<end>x"]),
    min_size=1,
    max_size=120,
).map(" ".join)


def codec(kind):
    return TokenizerCodec(trained(kind))


def retold(told, other, tokens, sizes=()):
    story, rest = Reencoder(codec(told), codec(other)), list(tokens)
    for size in sizes:
        story.extend(rest[:size])
        rest = rest[size:]
    story.extend(rest)
    return story


@settings(deadline=None, max_examples=40)
@given(told=kinds, other=kinds, data=st.data(), sizes=st.lists(st.integers(0, 9), max_size=40))
def test_the_tokens_do_not_depend_on_how_many_come_at_once(told, other, data, sizes):
    tokens = data.draw(st.lists(st.integers(0, len(trained(told)) - 1), max_size=200))
    assert retold(told, other, tokens).tokens() == retold(told, other, tokens, sizes).tokens()


@settings(deadline=None, max_examples=60)
@given(told=exact, other=kinds, text=texts)
def test_windows_move_without_a_trace(told, other, text):
    text = text.replace("<end>", "end").strip(" ")
    story = retold(told, other, codec(told).encode(text))
    assert story.tokens()[0] == spell(codec(other), text)


@settings(deadline=None, max_examples=30)
@given(told=kinds, data=st.data())
def test_no_text_makes_a_window_grow_for_ever(told, data):
    story = retold(told, "coarse", data.draw(st.lists(st.integers(0, 3), min_size=300, max_size=400)))
    assert len(story._window) < (PATIENCE + 1) * SPAN


def test_inside_a_character_there_are_no_tokens():
    tokens = codec("fine").encode("the 🙂")
    assert retold("fine", "coarse", tokens[:-1]).tokens()[0] == []
    assert retold("fine", "coarse", tokens).tokens()[0] == codec("coarse").encode("the 🙂")


@settings(deadline=None, max_examples=80)
@given(kind=exact, text=texts, cuts=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_what_is_certain_is_how_the_whole_text_goes_on(kind, text, cuts):
    tokens, made = codec(kind), text.replace("<end>", "end").strip(" ")
    whole = spell(tokens, made)
    at = round(min(cuts) * len(whole))
    before = tokens.decode(whole[:at])
    if spell(tokens, before) != whole[:at]:
        return  # the context ends where no token of its own text ends
    rest = tokens.decode(whole)[len(before) :]
    found = continuation(tokens, before, rest, "")
    assert found == whole[at:]
    end = round(max(cuts) * len(rest))
    sure = continuation(tokens, before, rest[:end], rest[end:])
    assert sure == whole[at : at + len(sure)]


def test_a_word_that_may_go_on_is_not_certain():
    tokens = codec("coarse")
    assert tokens.decode(continuation(tokens, "the", " cat sat on the", " mat")) == " cat sat on the"
    assert tokens.decode(continuation(tokens, "the", " cat sat on the ot", "her mat")) == " cat sat on the"


def test_a_context_that_ends_inside_a_word_still_goes_on():
    tokens = codec("coarse")
    halves = [*codec("coarse").encode("the oth"), *codec("coarse").encode("er cat")]
    assert tokens.decode(halves) == "the other cat"
    assert tokens.decode(continuation(tokens, "the oth", "er cat sat", "")) == "er cat sat"


def test_what_a_tokenizer_sets_before_a_prompt_is_told():
    plain = tokenizer_of(bos="<s>")
    assert opening(TokenizerCodec(plain)) == []
    from tokenizers.processors import TemplateProcessing

    plain.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", plain.bos_token_id)]
    )
    assert opening(TokenizerCodec(plain)) == [plain.bos_token_id]
    assert Reencoder(codec("fine"), TokenizerCodec(plain)).tokens()[0] == [plain.bos_token_id]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_said_of_no_text(kind):
    assert continuation(codec(kind), "the cat", "", "") == []
