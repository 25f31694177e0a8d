"""Text from tokens as they arrive."""

from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.text import TextStream


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


def test_bytes_that_never_become_a_character_are_delivered_at_the_end():
    stream = TextStream(Utf8())

    assert stream.push([0xE2, 0x82]) == ""
    assert stream.finish() == "\N{REPLACEMENT CHARACTER}"
