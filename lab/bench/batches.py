"""A bench of batches: many prompts in shared passes under each policy, against plain decoding of the same batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from itertools import cycle, islice
from operator import add
from typing import TYPE_CHECKING

from paceline.core.batch import BatchDecoder
from paceline.lab.bench.choices import choose
from paceline.lab.bench.processor import Stopwatch
from paceline.lab.bench.run import Bench, LoopMode, Timed
from paceline.lab.bench.summary import Summary, document, summarise
from paceline.lab.workloads.prompts import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.plugins.catalogue import Catalogue
    from paceline.lab.bench.choices import Choice
    from paceline.lab.models import Models

Batches = dict[tuple[int, ...], tuple[tuple[int, ...], ...]]
"""The prompts of each batch, by their tokens one after the other, as which a bench knows it."""


@dataclass(frozen=True, slots=True)
class BatchMode:
    """Our loop under a policy, on all prompts of a batch at once.

    Attributes:
        batches: All that it will be asked for.
    """

    name: str
    decoder: BatchDecoder
    batches: Batches

    def run(self, prompt: Sequence[int], max_new_tokens: int) -> Timed:
        """Decode a batch and time it; the tokens of its texts are one after the other."""
        prompts, watch = self.batches[tuple(prompt)], Stopwatch()
        texts = self.decoder.generate(prompts, max_new_tokens=max_new_tokens)
        seconds, processor = watch.stop()
        totals = reduce(add, (text.totals for text in texts))
        # Each text waits for all: its own seconds are those of the others as well.
        reading_s = totals.prefill_s
        totals = replace(totals, seconds=max(0.0, seconds - reading_s))
        return Timed(seconds, tuple(token for text in texts for token in text.tokens), totals, processor)


def batch_mode(name: str, decoder: SpeculativeDecoder, rows: int, batches: Batches) -> BatchMode:
    """Return a mode that decodes batches of so many rows with a decoder, which nobody else uses from now on."""
    return BatchMode(name, BatchDecoder(decoder, max_rows=rows, max_waiting=rows), batches)


def in_batches(prompts: Sequence[Prompt], rows: int) -> tuple[list[Prompt], Batches]:
    """Return batches of so many prompts, each as one prompt of a bench, and what each of them holds.

    Every prompt is in one batch or more: those of a last batch that is not full come from the beginning again.
    """
    count = -(-len(prompts) // rows)
    ordered = islice(cycle(prompts), count * rows)
    named: list[Prompt] = []
    batches: Batches = {}
    for number in range(1, count + 1):
        members = [*islice(ordered, rows)]
        tokens = tuple(token for member in members for token in member.tokens)
        kinds = {member.kind for member in members}
        named.append(Prompt(f"batch {number} of {rows}", kinds.pop() if len(kinds) == 1 else "mixed", tokens))
        batches[tokens] = tuple(member.tokens for member in members)
    return named, batches


def batch_bench(
    choice: Choice, prompts: Sequence[Prompt], rows: int, max_new_tokens: int, *, repeats: int, seed: int
) -> Bench:
    """Return a bench of the modes of a choice on batches of so many prompts; ways of a library's own are left out.

    The decoders of the choice are used up: every number of rows is learnt anew, by a choice of its own.
    """
    named, batches = in_batches(prompts, rows)
    modes = {
        name: batch_mode(name, mode.decoder, rows, batches)
        for name, mode in choice.modes.items()
        if isinstance(mode, LoopMode)
    }
    return Bench(modes, named, max_new_tokens, repeats, seed)


OF_EACH = ("clock", "shared", "waiting", "stolen", "modes", "best_static", "different", "failed", "runs")
OF_ALL = ("versions", "machine", "config", "policies", "settings")


def measure_batches(
    models: Models,
    catalogue: Catalogue,
    names: Sequence[str],
    prompts: Sequence[Prompt],
    sizes: Sequence[int],
    settings: Mapping[str, Any],
    run: Callable[[Bench], bool],
) -> tuple[dict[int, Summary], dict[str, Any]]:
    """Measure modes on batches of each size; return a summary of each, and all as JSON-able values.

    Args:
        models: Target and drafts.
        catalogue: Of policies.
        names: Modes, besides plain decoding.
        prompts: What batches are made of.
        sizes: Numbers of rows.
        settings: How often prompts are gone over is `repeats`; all of them are kept in the values.
        run: Runs a bench, and returns whether it was interrupted; no other size is begun then.
    """
    generation, summaries = models.config.generation, dict[int, Summary]()
    values: dict[str, Any] = {}
    listed: list[dict[str, Any]] = []
    for rows in sizes:
        # Every number of rows begins with policies that know nothing.
        choice = choose(models, catalogue, names)
        most, repeats = generation.max_new_tokens, settings["repeats"]
        bench = batch_bench(choice, prompts, rows, most, repeats=repeats, seed=generation.seed)
        stopped = run(bench)
        summaries[rows] = summarise(bench, choice, compared=generation.sampling().greedy)
        values = document(
            summaries[rows], bench, choice, config=models.config, settings=settings, interrupted=stopped
        )
        listed.append({"rows": rows, **{name: values[name] for name in OF_EACH}})
        if stopped:
            break
    whole = {name: values[name] for name in OF_ALL}
    return summaries, {**whole, "interrupted": values["interrupted"], "batches": listed}
