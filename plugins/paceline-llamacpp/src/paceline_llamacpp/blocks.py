"""Finds the smallest `block_multiple` under which the length of a block changes no logit of a model.

Run it as `python -m paceline_llamacpp.blocks FILE.gguf`: which lengths llama.cpp computes by the same kernels depends
on the file's number format and on the processor.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from dataclasses import replace
from random import Random
from time import process_time
from typing import TYPE_CHECKING, Final

import numpy as np

from paceline_llamacpp.config import LlamaCppConfig
from paceline_llamacpp.engine import Engine
from paceline_llamacpp.loading import engine_of
from paceline_llamacpp.sequence import SequenceState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

MULTIPLES: Final = (1, 2, 4, 8, 16)
PROMPT, TEXT, LONGEST, TRIALS, PASSES = 40, 48, 12, 4, 5
"""Tokens read and written, the longest block tried, texts cut anew, and passes that are timed."""


def tokens(count: int, vocabulary: int) -> list[int]:
    """Return tokens that look random and are always the same."""
    dice = Random(0)
    return [dice.randrange(vocabulary) for _ in range(count)]


def logits_in_blocks(engine: Engine, text: Sequence[int], lengths: Iterable[int]) -> NDArray[np.float32]:
    """Return the logits after each token past the prompt, the text being fed in blocks of these lengths."""
    state = SequenceState(engine, text[: PROMPT + 1])
    rows = []
    try:
        state.catch_up(1)
        place = PROMPT
        for length in lengths:
            block = text[place + 1 : place + length]
            rows.append(state.attempt(block).copy())
            place += length
            state.advance(text[place - length + 1 : place + 1])
    finally:
        state.close()
    return np.concatenate(rows)


def is_steady(engine: Engine) -> bool:
    """Tell whether texts that are cut into blocks by chance give the logits of one token at a time, bit by bit."""
    text = tokens(PROMPT + TEXT + 1, engine.vocabulary)
    alone = logits_in_blocks(engine, text, [1] * TEXT)
    for seed in range(TRIALS):
        dice, lengths = Random(seed), list[int]()
        while (left := TEXT - sum(lengths)) > 0:
            lengths.append(min(left, dice.randint(1, LONGEST)))
        if not np.array_equal(alone, logits_in_blocks(engine, text, lengths)):
            return False
    return True


def pass_s(engine: Engine) -> float:
    """Return the CPU seconds of a plain step, the least of several."""
    state = SequenceState(engine, tokens(PROMPT, engine.vocabulary))
    seconds = []
    for _ in range(PASSES):
        began = process_time()
        state.attempt()
        seconds.append(process_time() - began)
        state.undo()
    state.close()
    return min(seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print for each multiple whether texts stay equal, and what a plain step takes; end at the first that does."""
    parser = ArgumentParser(prog="python -m paceline_llamacpp.blocks", description=__doc__)
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache-type", default="f16")
    parser.add_argument("--flash-attention", choices=("auto", "on", "off"), default="auto")
    given = parser.parse_args(arguments)
    flash = {"auto": None, "on": True, "off": False}[given.flash_attention]
    config = LlamaCppConfig(
        model=given.model,
        threads=given.threads,
        context=PROMPT + TEXT + LONGEST,
        cache_type=given.cache_type,
        flash_attention=flash,
    )
    first = engine_of(config)
    usual = pass_s(first)
    for multiple in MULTIPLES:
        engine = Engine(first.model, replace(first.options, block_multiple=multiple))
        steady = is_steady(engine)
        price = pass_s(engine) / usual
        said = "every length gives the same logits" if steady else "logits change with the length"
        sys.stdout.write(
            f"block_multiple {multiple:>2}: {said}; a plain step takes {price:.2f} of the usual time\n"
        )
        if steady:
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
