"""Text as tokens arrive, and where it ends."""

from __future__ import annotations

import functools
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.embedded.config import EmbeddedConfig
from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError
from paceline.core.stopping import (
    MAX_TOKENS_PER_CHARACTER,
    UNFINISHED_CHARACTERS,
    StopConditions,
    StopStrings,
    stop_criteria,
)
from paceline.core.streaming import TextStream
from paceline.core.testing.doubles import ChaoticPolicy, ScriptedPolicy


class Utf8:
    """One byte, one token: the tokenizer that splits characters most often."""

    def encode(self, text):
        return list(text.encode())

    def decode(self, tokens):
        return bytes(tokens).decode("utf-8", errors="replace")


def pieces_of(tokens, sizes):
    stream = TextStream(Utf8())
    rest = list(tokens)
    for size in sizes:
        yield stream.push(rest[:size])
        rest = rest[size:]
    yield stream.push(rest)
    yield stream.finish()


@settings(deadline=None)
@given(text=st.text(max_size=30), sizes=st.lists(st.integers(0, 5), max_size=20))
def test_the_pieces_joined_are_the_whole_text(text, sizes):
    assert text == "".join(pieces_of(text.encode(), sizes))


@settings(deadline=None)
@given(text=st.text(alphabet="aé€🙂", max_size=30), sizes=st.lists(st.integers(0, 5), max_size=20))
def test_no_piece_holds_half_a_character(text, sizes):
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces_of(text.encode(), sizes))


@settings(deadline=None)
@given(text=st.text(alphabet="aé€🙂", max_size=30), sizes=st.lists(st.integers(0, 9), max_size=20))
def test_every_character_is_shown_once_all_of_it_is_there(text, sizes):
    stream, shown, at = TextStream(Utf8()), "", 0
    for size in sizes:
        shown += stream.push(text.encode()[at : at + size])
        at += size
        assert shown == text.encode()[:at].decode(errors="ignore")


def test_bytes_that_never_become_a_character_are_delivered_at_the_end():
    stream = TextStream(Utf8())

    assert stream.push([0xE2, 0x82]) == ""
    assert stream.finish() == "\N{REPLACEMENT CHARACTER}"


tokens_lists = st.lists(st.integers(0, 5), max_size=40)


@settings(deadline=None)
@given(
    tokens=tokens_lists,
    eos=st.frozensets(st.integers(0, 5), max_size=2),
    longest=st.integers(1, 30),
    data=st.data(),
)
def test_cutting_block_by_block_ends_where_cutting_token_by_token_ends(tokens, eos, longest, data):
    limits = StopConditions(longest, eos, (lambda output: output[-2:] == [4, 4],))
    one_by_one, by_blocks = [], []
    ended_single = ended_block = None
    for token in tokens:
        _, ended_single = limits.cut(one_by_one, [token])
        if ended_single:
            break
    rest = list(tokens)
    while rest and not ended_block:
        size = data.draw(st.integers(1, len(rest)))
        _, ended_block = limits.cut(by_blocks, rest[:size])
        rest = rest[size:]

    assert one_by_one == by_blocks
    assert ended_single == ended_block


def test_the_end_token_is_delivered_and_nothing_after_it():
    output = [7]

    emitted, ended = StopConditions(9, frozenset({0})).cut(output, [3, 0, 5])

    assert (emitted, ended) == ([3, 0], "eos")
    assert output == [7, 3, 0]


def test_an_end_token_at_the_length_limit_counts_as_eos():
    assert StopConditions(2, frozenset({0})).cut([3], [0])[1] == "eos"


def test_a_stop_criterion_is_asked_before_the_length_limit():
    assert StopConditions(1, frozenset(), (lambda output: True,)).cut([], [3])[1] == "stop"


TOY = ToyTarget(seed=3)


class Spaced:
    """Words that bring a space along, which the first one loses, as SentencePiece has it; 0 has no text."""

    words = ("", " a", " the", "b", " ", ".", " quite-a-long-word", "the")

    def decode(self, tokens):
        return "".join(self.words[token] for token in tokens).removeprefix(" ")


class Pieces:
    """Words and their continuations, which show their mark where they stand first, as WordPiece has it."""

    words = ("the", "cat", "##s", "##x", ".")

    def decode(self, tokens):
        return " ".join(self.words[token] for token in tokens).replace(" ##", "")


class Fallback:
    """Letters, and bytes that are a text only if all of those in a row are, as SentencePiece has it."""

    def decode(self, tokens):
        text = ""
        for plain, row in groupby(tokens, lambda token: token < 128):
            some = bytes(row)
            try:
                text += some.decode()
            except UnicodeDecodeError:
                assert not plain
                text += "\N{REPLACEMENT CHARACTER}" * len(some)
        return text


@functools.cache
def embedded():
    return EmbeddedConfig().build_target().codec


def first_end(codec, tokens, strings):
    """Try every beginning of the output, the shortest first."""
    ends = (n for n in range(1, len(tokens) + 1) if any(one in codec.decode(tokens[:n]) for one in strings))
    return next(ends, len(tokens))


def found_end(codec, tokens, strings):
    (criterion,) = stop_criteria(strings, codec)
    return next((end for end in range(1, len(tokens) + 1) if criterion(tokens[:end])), len(tokens))


def some_strings(text):
    """Strings that are in a text, and some that are not."""
    length = len(text)
    inside = st.tuples(st.integers(0, length), st.integers(1, 12)).map(
        lambda cut: text[cut[0] : cut[0] + cut[1]]
    )
    others = st.text(max_size=4) | inside
    return st.lists(others.filter(lambda string: string and "�" not in string), min_size=1, max_size=3)


@settings(deadline=None, max_examples=300)
@given(data=st.data(), raw=st.binary(max_size=200) | st.text(alphabet="aé€🙂\n", max_size=80).map(str.encode))
def test_bytes_end_where_the_whole_text_first_holds_the_string(data, raw):
    tokens = list(raw)
    strings = data.draw(some_strings(Utf8().decode(tokens)))
    assert found_end(Utf8(), tokens, strings) == first_end(Utf8(), tokens, strings)


@settings(deadline=None, max_examples=300)
@given(data=st.data(), tokens=st.lists(st.integers(0, 7), max_size=150))
def test_words_that_lose_a_space_end_there_as_well(data, tokens):
    strings = data.draw(some_strings(Spaced().decode(tokens)))
    assert found_end(Spaced(), tokens, strings) == first_end(Spaced(), tokens, strings)


@settings(deadline=None, max_examples=200)
@given(tokens=st.lists(st.integers(0, 4), min_size=40, max_size=90), data=st.data())
def test_a_mark_that_only_a_first_token_shows_is_no_text(tokens, data):
    strings = data.draw(some_strings(Pieces().decode(tokens)) | st.just(["##"]))
    assert found_end(Pieces(), tokens, strings) == first_end(Pieces(), tokens, strings)


@settings(deadline=None, max_examples=200)
@given(text=st.text("aé€🙂", min_size=20, max_size=90), size=st.integers(1, 12))
def test_rows_of_bytes_are_not_cut_inside_a_character(text, size):
    tokens, wanted = list(text.encode()), [text[-size:]]
    assert found_end(Fallback(), tokens, wanted) == first_end(Fallback(), tokens, wanted)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_the_embedded_tokenizer_ends_there_as_well(data):
    tokens = data.draw(
        st.lists(st.integers(0, 511), max_size=120)
        | st.text("aé🙂 \nthe", max_size=90).map(embedded().encode)
    )
    strings = data.draw(some_strings(embedded().decode(tokens)))
    assert found_end(embedded(), tokens, strings) == first_end(embedded(), tokens, strings)


class Counted(Utf8):
    """Notes the longest list it was shown."""

    longest = 0

    def decode(self, tokens):
        self.longest = max(self.longest, len(tokens))
        return super().decode(tokens)


@settings(deadline=None, max_examples=30)
@given(
    highest=st.sampled_from([127, 255]),
    tokens=st.lists(st.integers(0, 255), min_size=400, max_size=600),
    length=st.integers(1, 9),
)
def test_only_the_end_of_a_long_text_is_decoded(highest, tokens, length):
    codec, tokens = Counted(), [token & highest for token in tokens]
    stop = StopStrings(codec, ["¶" * length])
    for end in range(1, len(tokens) + 1):
        stop(tokens[:end])
    assert (
        codec.longest
        <= (2 if highest == 127 else 2 * MAX_TOKENS_PER_CHARACTER) * (length + UNFINISHED_CHARACTERS) + 2
    )


def decoder(policy, **options):
    drafts = {"good": ToyDraft(TOY, agreement=0.8), "lookup": PromptLookup()}
    return SpeculativeDecoder(TOY, drafts, policy, max_new_tokens=80, **options)


@settings(deadline=None, max_examples=150)
@given(data=st.data(), seed=st.integers(0, 999), prompt=st.lists(st.integers(1, 26), min_size=1, max_size=6))
def test_a_text_ends_where_the_target_alone_would_have_ended_it(data, seed, prompt):
    alone = []
    while len(alone) < 80:
        alone.append(TOY.next([*prompt, *alone]))
    strings = data.draw(some_strings(TOY.codec.decode(alone)))
    end = first_end(TOY.codec, alone, strings)

    done = decoder(ChaoticPolicy(seed, ("good", "lookup"))).generate(prompt, stop=strings)

    assert list(done.tokens) == alone[:end]
    inside = any(string in done.text for string in strings)
    assert done.ended == ("stop" if inside else "length")
    assert "".join(decoder(ChaoticPolicy(seed, ("good",))).stream(prompt, stop=strings)) == done.text


def test_a_string_may_be_given_alone_and_beside_functions():
    text = decoder(ScriptedPolicy([3])).generate("the rain").text
    wanted = text[20:23]
    end = text.index(wanted) + 3
    for stop in (
        wanted,
        [wanted],
        [lambda output: False, wanted],
        [lambda output: len(output) >= 70, wanted],
    ):
        assert decoder(ScriptedPolicy([3])).generate("the rain", stop=stop).text == text[:end]
    assert (
        len(
            decoder(ScriptedPolicy([3]))
            .generate("the rain", stop=[lambda output: len(output) >= 2, wanted])
            .text
        )
        == 2
    )


def test_the_prompt_is_not_searched():
    text = decoder(ScriptedPolicy([3])).generate("the rain").text
    done = decoder(ScriptedPolicy([3])).generate("the rain", stop="the rain" + text[:1])
    assert done.text == text


def test_a_call_replaces_what_the_decoder_was_given():
    short = decoder(ScriptedPolicy([3]), stop=[lambda output: len(output) >= 5])
    assert len(short.generate("the rain").tokens) == 5
    assert len(short.generate("the rain").tokens) == 5
    assert len(short.generate("the rain", stop=()).tokens) == 80
    assert len("".join(short.stream("the rain", stop=lambda_of(7)))) == 7


def lambda_of(length):
    return [lambda output: len(output) >= length]


@pytest.mark.parametrize("wrong", ["", "a\N{REPLACEMENT CHARACTER}"])
def test_a_string_that_ends_nothing_is_refused(wrong):
    with pytest.raises(BackendError, match="a stop string must be text"):
        decoder(ScriptedPolicy([3]), stop=["fine", wrong])


def test_strings_need_a_tokenizer():
    with pytest.raises(BackendError, match="no tokenizer"):
        stop_criteria("END", None)
    assert len(stop_criteria(lambda_of(3), None)) == 1


@settings(deadline=None, max_examples=200)
@given(data=st.data(), tokens=st.lists(st.integers(0, 7), max_size=60))
def test_pieces_of_words_that_lose_a_space_are_the_whole_text(data, tokens):
    stream, pieces, rest = TextStream(Spaced()), [], list(tokens)
    while rest:
        size = data.draw(st.integers(1, 5))
        pieces.append(stream.push(rest[:size]))
        rest = rest[size:]
    assert "".join([*pieces, stream.finish()]) == Spaced().decode(tokens)


@settings(deadline=None, max_examples=200)
@given(raw=st.binary(max_size=60), sizes=st.lists(st.integers(1, 5), max_size=30), data=st.data())
def test_pieces_of_any_bytes_cut_by_a_string_are_the_whole_text(raw, sizes, data):
    tokens = list(raw)
    end = found_end(Utf8(), tokens, data.draw(some_strings(Utf8().decode(tokens))))
    stream, pieces, at = TextStream(Utf8()), [], 0
    for size in [*sizes, len(tokens)]:
        pieces.append(stream.push(tokens[at : min(end, at + size)]))
        at = min(end, at + size)
    assert "".join([*pieces, stream.finish()]) == Utf8().decode(tokens[:end])
