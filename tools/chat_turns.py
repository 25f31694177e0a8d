"""First tokens of a chat with kept caches and without: `python -I tools chat_turns MODEL [OPTIONS]`.

Both ways hold the same conversation in turns, on one loaded model: the texts must be the same, and what differs is the
CPU time until the first token of each answer, in which the prompt is read.
"""

from __future__ import annotations

import argparse
import sys
from statistics import median
from time import process_time
from typing import TYPE_CHECKING

import torch

from paceline.backends.graph import GraphConfig
from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.transformers import HfConfig
from paceline.core.decoder import SpeculativeDecoder
from paceline.policies.auto import AutoConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.protocols import Target

SAID = (
    "Write a Python function that returns the mean of a list of numbers.",
    "Add a docstring to it.",
    "Now make it raise an error for an empty list.",
    "Rename the function to average, and show it again.",
    "Write two tests for it.",
    "Explain in two sentences what the tests check.",
)
"""Messages of a short conversation about a piece of code."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print for each turn but the first the length of its prompt, seconds both ways, and their ratio."""
    parser = argparse.ArgumentParser(prog="tools chat_turns", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", help="a folder or a name on the hub")
    parser.add_argument("--backend", choices=["graph", "hf"], default="graph")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--tokens", type=int, default=96, help="most tokens of an answer")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    config = GraphConfig if given.backend == "graph" else HfConfig
    options = {"model": given.model, "dtype": given.dtype, "device": "cpu", "threads": 1}
    target = config.model_validate(options).build_target()
    sys.stdout.write(f"{'turn':<6}{'prompt':>8}{'without s':>11}{'with s':>9}{'ratio':>8}  of all repeats\n")
    # Of the first turn there is nothing to keep, but from the same turn of an earlier repeat.
    for turn, (prompt, pairs) in enumerate(measure(target, given.tokens, given.repeats)[1:], start=2):
        ratios = [without / kept for without, kept in pairs]
        without, kept = (median(seconds) for seconds in zip(*pairs, strict=True))
        sys.stdout.write(
            f"{turn:<6}{prompt:>8}{without:>11.3f}{kept:>9.3f}{median(ratios):>8.1f}  "
            f"{min(ratios):.1f} to {max(ratios):.1f}\n"
        )


def measure(target: Target, tokens: int, repeats: int) -> list[tuple[int, list[tuple[float, float]]]]:
    """Return for each turn the tokens of its prompt, and the seconds to its first token without and with, by repeat."""
    decoders = {
        kept: SpeculativeDecoder(
            target, {"lookup": PromptLookup()}, AutoConfig().build(0), prefix_caches=kept
        )
        for kept in (0, 1)
    }
    turns: list[tuple[int, list[tuple[float, float]]]] = [(0, []) for _ in SAID]
    for repeat in range(repeats):
        conversations = {
            kept: decoder.conversation(max_new_tokens=tokens) for kept, decoder in decoders.items()
        }
        for turn, message in enumerate(SAID):
            seconds, prompt = {}, 0
            for kept in (0, 1) if (repeat + turn) % 2 else (1, 0):
                rounds = conversations[kept].rounds(message)
                began = process_time()
                prompt = next(rounds).context
                seconds[kept] = process_time() - began
                for _ in rounds:
                    pass
            if conversations[0].messages != conversations[1].messages:
                sys.exit(f"the answers of turn {turn + 1} differ")
            turns[turn] = prompt, [*turns[turn][1], (seconds[0], seconds[1])]
    return turns


if __name__ == "__main__":
    main()
