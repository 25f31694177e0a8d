"""Tokenizers trained on a few lines, which cut the same text in different ways."""

import functools
import json

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEXT = (
    "The cat sat on the mat, and the other cat sat on the other mat. Größe, naïve, 数学, привет, 🙂👍🏽! "
    "def f(x):\n    return x + 1\n\nthen the rain in the plain remained mainly the same rain; 42 times the rain. "
) * 3
KINDS = ("fine", "coarse", "spaced", "words")


def _fine():
    return _bytes(260)


def _coarse():
    return _bytes(420)


def _bytes(size):
    """Byte-level, as GPT-2 and Llama 3: a token may hold a part of a character."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        [TEXT],
        trainers.BpeTrainer(
            vocab_size=size, initial_alphabet=alphabet, special_tokens=["<end>"], show_progress=False
        ),
    )
    return made


def _spaced():
    """As SentencePiece: a space is set before a text and taken away again, and rare characters are spelled as bytes."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(steps)
    plain = "".join(letter for letter in TEXT if letter.isascii())
    trainer = trainers.BpeTrainer(vocab_size=180, special_tokens=["<unk>", "<end>"], show_progress=False)
    made.train_from_iterator([plain], trainer)
    # Bytes are ordinary tokens, which a trainer does not add.
    learnt = json.loads(made.to_str())["model"]
    ids = learnt["vocab"]
    for byte in range(256):
        ids[f"<0x{byte:02X}>"] = len(ids)
    merges = [tuple(pair) for pair in learnt["merges"]]
    made.model = models.BPE(ids, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    return made


def _words():
    """Whole words and marks; others are unknown, and decoding sets a space between any two."""
    made = Tokenizer(models.WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator(
        [TEXT], trainers.WordLevelTrainer(special_tokens=["<unk>", "<end>"], show_progress=False)
    )
    return made


@functools.cache
def trained(kind):
    """Return a tokenizer of one of `KINDS`."""
    made = {"fine": _fine, "coarse": _coarse, "spaced": _spaced, "words": _words}[kind]()
    unknown = {"unk_token": "<unk>"} if kind in {"spaced", "words"} else {}
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", **unknown)
