"""Two tokenizers are told apart by what they make of a few texts."""

from paceline.core.codecs import PROBES, tokenizer_difference


class Words:
    """One token for each word, in the order in which they are first met; a space at the end of a word is its own."""

    def __init__(self, texts, *, keeping_spaces=True):
        self.spaces = keeping_spaces
        self.known = {}
        for text in texts:
            self.encode(text)

    def encode(self, text):
        words = text.split(" ") if self.spaces else text.split()
        return [self.known.setdefault(word, len(self.known)) for word in words]

    def decode(self, tokens):
        raise AssertionError("only what is written is compared")


def test_tokenizers_that_write_the_same_do_not_differ():
    assert tokenizer_difference(Words(PROBES), Words(PROBES)) is None


def test_the_first_text_that_is_written_otherwise_is_shown():
    told = tokenizer_difference(Words(PROBES), Words(PROBES, keeping_spaces=False))
    assert told is not None
    assert told.startswith(f"{PROBES[1]!r} becomes [")
    assert told.endswith("for the draft.")
