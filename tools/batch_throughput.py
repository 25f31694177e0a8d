"""Tokens per CPU second of many requests at once, in four ways: `python -I tools batch_throughput MODEL [OPTIONS]`.

For each number of rows, the same prompts are decoded greedily, in turns and again and again, by `auto` in one batch, by
plain decoding in one batch, by transformers' own `generate` with its batch, and by `auto` one request after the other.
Each line holds the median of the ratios of `auto` in a batch to the others, their least and their largest, and how many
tokens a round delivered to a row. Everything is decoded once before, so that kernels are warm and costs are known.
"""

from __future__ import annotations

import argparse
import resource
import sys
from itertools import cycle, islice
from statistics import median
from time import process_time
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from paceline import BatchDecoder, SpeculativeDecoder, load_config
from paceline.backends.embedded.config import EmbeddedConfig
from paceline.backends.graph import GraphConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from paceline import Work

CREATIVE = (
    "Write a short story about a lighthouse keeper who finds a letter.",
    "Explain to a child why the sky is blue.",
    "Name three good habits and say why they help.",
    "What should I cook tonight with rice, eggs and spinach?",
    "Describe a walk through an old town in the rain.",
    "Give me advice for a first job interview.",
    "Tell me about the history of the bicycle.",
    "Write a poem about the sea in winter.",
)
"""Questions to a chat model, the answers to which repeat little of them."""

COPYING = (
    "The committee met on Tuesday to discuss the budget for the coming year, and agreed on seven points.\n",
    "Take two cups of flour, one cup of sugar, three eggs and a pinch of salt; mix well and bake for an hour.\n",
    "Name: Ada, born 1815 in London; Name: Alan, born 1912 in London; Name: Grace, born 1906 in New York.\n",
    "def area(width, height):\n    return width * height\n\nprint(area(3, 4), area(5, 6), area(7, 8))\n",
)
"""Lines that a prompt holds four times, so that what follows is a copy."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each number of rows."""
    parser = argparse.ArgumentParser(
        prog="tools batch_throughput", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("model", help="a folder or a name on the hub, or `embedded`")
    parser.add_argument("--texts", choices=("creative", "copying", "mixed"), default="creative")
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument(
        "--without", nargs="*", default=[], help="ways to leave out", choices=("hf", "single")
    )
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    target, drafts, model, tokenizer = load(given.model, given.dtype)
    for rows in given.rows:
        ways = ways_to_decode(target, drafts, model, tokenizer, given)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        prompts = prompts_of(given.texts, rows, tokenizer)
        rounds = 0
        for turn in range(given.repeats + 1):
            for name, decode in ways.items():
                began = process_time()
                taken = decode(prompts)
                if turn:
                    seconds[name].append(process_time() - began)
                    rounds += taken if name == "auto" else 0
        line(rows, seconds, rows * given.tokens, rounds / given.repeats)


def load(name: str, dtype: str) -> tuple[Any, Mapping[str, Any], Any, Any]:
    """Return target, drafts, and the same model and tokenizer of transformers."""
    if name == "embedded":
        block: Any = EmbeddedConfig()
        source = block.source("target")
        name = source.model
        target = block.build_target()
        drafts = {"small": EmbeddedConfig().build_draft(target)}
    else:
        block = GraphConfig.model_validate({"model": name, "dtype": dtype, "device": "cpu", "threads": 1})
        target, drafts = block.build_target(), {}
    lookup = load_config({"drafts": {"lookup": "prompt-lookup"}}).drafts["lookup"].build_draft(target)
    model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None
    return (
        target,
        {**drafts, "lookup": lookup},
        model,
        AutoTokenizer.from_pretrained(name, padding_side="left"),
    )


class CpuClock:
    """CPU seconds of this process, which is what is compared: other work on the machine must not change the plans."""

    def now(self) -> float:
        """Return the seconds so far."""
        return process_time()

    def spend(self, work: Work) -> None:
        """Do nothing: they have passed already."""


def prompts_of(texts: str, rows: int, tokenizer: Any) -> list[list[int]]:
    """Return the prompts; of mixed ones the first is copied, and no other."""
    copied = [tokenizer(4 * text)["input_ids"] for text in COPYING]
    questions = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=True
        )["input_ids"]
        if tokenizer.chat_template
        else tokenizer(f'def task():\n    """{text}"""\n')["input_ids"]
        for text in CREATIVE
    ]
    kinds = {"creative": questions, "copying": copied, "mixed": [copied[0], *questions]}
    return list(islice(cycle(kinds[texts]), rows))


def ways_to_decode(
    target: Any, drafts: Mapping[str, Any], model: Any, tokenizer: Any, given: Any
) -> dict[str, Callable[[list[list[int]]], int]]:
    """Return functions that decode prompts, by name; each returns the rounds that it took."""
    auto, plain = (
        load_config({"policy": "auto"}).policy,
        load_config({"policy": {"name": "static", "gamma": 0}}).policy,
    )
    options: dict[str, Any] = {"eos": frozenset(), "max_new_tokens": given.tokens, "clock": CpuClock()}
    single = SpeculativeDecoder(target, drafts, auto.build(0), **options)
    batched = BatchDecoder(SpeculativeDecoder(target, drafts, auto.build(0), **options))
    undrafted = BatchDecoder(SpeculativeDecoder(target, {}, plain.build(0), **options))

    def whole(prompts: list[list[int]]) -> int:
        longest = max(map(len, prompts))
        pad = tokenizer.pad_token_id or 0
        ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        model.generate(
            ids, attention_mask=mask, do_sample=False, max_new_tokens=given.tokens, pad_token_id=pad
        )
        return 0

    ways: dict[str, Callable[[list[list[int]]], int]] = {
        "auto": lambda prompts: sum(text.totals.rounds for text in batched.generate(prompts)),
        "plain": lambda prompts: sum(text.totals.rounds for text in undrafted.generate(prompts)),
        "hf": whole,
        "single": lambda prompts: sum(single.generate(prompt).totals.rounds for prompt in prompts),
    }
    return {name: decode for name, decode in ways.items() if name not in given.without}


def line(rows: int, seconds: Mapping[str, list[float]], tokens: int, rounds: float) -> None:
    """Print what came of one number of rows."""
    cells = [f"{rows:>3} rows  auto {tokens / median(seconds['auto']):7.1f} tokens/s"]
    for name, others in seconds.items():
        if name != "auto":
            ratios = [other / own for own, other in zip(seconds["auto"], others, strict=True)]
            cells.append(f"over {name} {median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    cells.append(f"{tokens / rounds:.2f} tokens a round")
    sys.stdout.write("  ".join(cells) + f"  peak {peak:.2f} GiB\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
