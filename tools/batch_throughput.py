"""Tokens per second of many requests at once, in four ways: `python -I tools batch_throughput MODEL [OPTIONS]`.

For each number of rows, the same prompts are decoded greedily in turns, as `paceline bench --batch` does, by `auto` in
one batch, by plain decoding in one batch, by transformers' own `generate` with its batch, and by `auto` one request
after the other. Each line holds how many times faster `auto` in a batch is than the others, with the interval where
there are enough runs, and how many tokens a round delivered to a row. On a machine that others use as well, seconds are
those of the processor; policies plan by those in any case.
"""

from __future__ import annotations

import argparse
import resource
import sys
from itertools import cycle, islice
from time import process_time
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from paceline import SpeculativeDecoder, load_config
from paceline.backends.embedded.config import EmbeddedConfig
from paceline.backends.graph import GraphConfig
from paceline.backends.transformers import HfConfig
from paceline.core.generation import Totals
from paceline.lab.bench.batches import Batches, batch_mode, in_batches
from paceline.lab.bench.choices import Choice
from paceline.lab.bench.processor import Stopwatch
from paceline.lab.bench.run import BASE, Bench, Timed
from paceline.lab.bench.summary import summarise
from paceline.lab.stats import interval, times
from paceline.lab.workloads.prompts import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from paceline import Work
    from paceline.lab.bench.run import Mode
    from paceline.lab.bench.summary import Summary

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
    parser.add_argument("--engine", choices=("graph", "hf"), default="graph")
    parser.add_argument("--texts", choices=("creative", "copying", "mixed"), default="creative")
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument(
        "--without", nargs="*", default=[], help="ways to leave out", choices=("generate", "single")
    )
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    target, drafts, model, tokenizer = load(given.model, given.engine, given.dtype)
    for rows in given.rows:
        named, batches = in_batches(prompts_of(given.texts, rows, tokenizer), rows)
        modes = ways_to_decode(target, drafts, model, tokenizer, batches, rows, given)
        bench = Bench(modes, named, given.tokens, given.repeats)
        bench.warm_up()
        for _ in bench.run():
            pass
        line(rows, summarise(bench, Choice()))


def load(name: str, engine: str, dtype: str) -> tuple[Any, Mapping[str, Any], Any, Any]:
    """Return target, drafts, and the same model and tokenizer of transformers."""
    drafts: dict[str, str] = {}
    if name == "embedded":
        name, drafts = (
            EmbeddedConfig().source("target").model,
            {"small": EmbeddedConfig().source("small").model},
        )
    config: Any = {"graph": GraphConfig, "hf": HfConfig}[engine]

    def block(folder: str) -> Any:
        return config.model_validate({"model": folder, "dtype": dtype, "device": "cpu", "threads": 1})

    target = block(name).build_target()
    lookup = load_config({"drafts": {"lookup": "prompt-lookup"}}).drafts["lookup"].build_draft(target)
    model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None
    built = {draft: block(folder).build_draft(target) for draft, folder in drafts.items()}
    return (
        target,
        {**built, "lookup": lookup},
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


def prompts_of(texts: str, rows: int, tokenizer: Any) -> list[Prompt]:
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
    return [
        Prompt(str(row), texts, tuple(each)) for row, each in enumerate(islice(cycle(kinds[texts]), rows))
    ]


class Way:
    """A way to decode the prompts of a batch that is none of our own batches."""

    def __init__(
        self,
        name: str,
        batches: Batches,
        decode: Callable[[Sequence[Sequence[int]], int], Sequence[Sequence[int]]],
    ) -> None:
        self.name = name
        self._batches = batches
        self._decode = decode

    def run(self, prompt: Sequence[int], max_new_tokens: int) -> Timed:
        """Decode a batch and time it."""
        watch = Stopwatch()
        texts = self._decode(self._batches[tuple(prompt)], max_new_tokens)
        seconds, processor = watch.stop()
        tokens = tuple(token for text in texts for token in text)
        return Timed(seconds, tokens, Totals(emitted=len(tokens), seconds=seconds), processor)


def ways_to_decode(
    target: Any,
    drafts: Mapping[str, Any],
    model: Any,
    tokenizer: Any,
    batches: Batches,
    rows: int,
    given: argparse.Namespace,
) -> dict[str, Mode]:
    """Return ways to decode batches, by name."""
    clock = CpuClock()

    def decoder(policy: Any, drafts: Mapping[str, Any]) -> SpeculativeDecoder:
        made = load_config({"policy": policy}).policy.build(0)
        return SpeculativeDecoder(target, drafts, made, eos=frozenset(), clock=clock)

    single = decoder("auto", drafts)

    def one_by_one(prompts: Sequence[Sequence[int]], most: int) -> list[Sequence[int]]:
        return [single.generate(prompt, max_new_tokens=most).tokens for prompt in prompts]

    def generate(prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        longest, pad = max(map(len, prompts)), tokenizer.pad_token_id or 0
        ids = torch.tensor([[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        options = {"do_sample": False, "max_new_tokens": most, "pad_token_id": pad}
        return model.generate(ids, attention_mask=mask, **options)[:, longest:].tolist()  # type: ignore[no-any-return]

    ways: list[Mode] = [
        batch_mode(BASE, decoder({"name": "static", "gamma": 0}, {}), rows, batches),
        batch_mode("auto", decoder("auto", drafts), rows, batches),
        Way("generate", batches, generate),
        Way("single", batches, one_by_one),
    ]
    return {way.name: way for way in ways if way.name not in given.without}


def line(rows: int, summary: Summary) -> None:
    """Print what came of one number of rows."""
    assert summary.comparison is not None
    own = summary.comparison.row("auto")
    cells = [f"{rows:>3} rows  auto {own.all.tokens_per_second:7.1f} tokens/s ({summary.clock})"]
    for row in summary.rows:
        if row is not own:
            ratio = summary.over("auto", row.policy)
            cells.append(f"over {row.policy} {times(ratio)} {interval(ratio)}".rstrip())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    cells.append(f"{own.totals.tokens_per_round:.2f} tokens a round")
    differing = len({(each.mode, each.prompt) for each in summary.different})
    sys.stdout.write("  ".join(cells) + f"  peak {peak:.2f} GiB  {differing} differ\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
