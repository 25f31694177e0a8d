"""Passes of a model of the graph backend beside the speed of memory: `python -I tools pass_times MODEL [OPTIONS]`.

Each number is the lower quartile of CPU milliseconds of a block of tokens after a context, all formats in turns, beside
what reading the matrices once takes by the read speed measured in the same turns. With `--text FILE` the perplexity of
the first tokens of a text follows for each format.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from statistics import quantiles
from time import process_time
from typing import TYPE_CHECKING, Any

import torch

from paceline.backends.graph import GraphConfig
from paceline.backends.torch.pages import enlarge_pages, span_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.backends.graph.engine import GraphEngine

READ = 2**28
"""Bytes that are read for the speed of memory; more than caches hold, but for those of large servers."""

WINDOW = 1024
"""Tokens of a text that are read at once for its perplexity."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each format and context, then the perplexities."""
    parser = argparse.ArgumentParser(prog="tools pass_times", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", help="a folder or a name on the hub")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16", "int8"])
    parser.add_argument("--contexts", nargs="+", type=int, default=[128])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 4, 6, 8, 16])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--small-pages", action="store_true", help="ask for no large pages of memory")
    parser.add_argument("--text", type=Path, help="a file to measure perplexity on")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens of it")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    targets = {dtype: _target(given, dtype) for dtype in given.dtypes}
    sys.stdout.write(
        f"{'dtype':<10}{'context':>8}" + "".join(f"{rows:>8}" for rows in given.rows) + "  reading alone\n"
    )
    for context in given.contexts:
        timed = measure({name: target.engine for name, target in targets.items()}, context, given)
        for dtype, (milliseconds, reading) in timed.items():
            cells = "".join(f"{value:>8.1f}" for value in milliseconds)
            sys.stdout.write(f"{dtype:<10}{context:>8}{cells}  {reading:.1f}\n")
    if given.text is not None:
        for dtype, target in targets.items():
            tokens = target.codec.encode(given.text.read_text(encoding="utf-8"))[: given.tokens]
            value = perplexity(target.engine, tokens)
            sys.stdout.write(f"{dtype:<10}perplexity {value:.3f} over {len(tokens)} tokens\n")


def _target(given: Any, dtype: str) -> Any:
    options = {
        "model": given.model,
        "dtype": dtype,
        "device": "cpu",
        "threads": given.threads,
        "huge_pages": not given.small_pages,
        "max_context": max(*given.contexts, WINDOW) + max(given.rows),
    }
    return GraphConfig.model_validate(options).build_target()


def measure(
    engines: dict[str, GraphEngine], context: int, given: Any
) -> dict[str, tuple[list[float], float]]:
    """Return for each engine the milliseconds of each number of rows, and those of reading its matrices once."""
    sizes = {
        name: sum(span.end - span.start for span in map(span_of, engine.products.packed()))
        for name, engine in engines.items()
    }
    caches = {name: engine.new_cache() for name, engine in engines.items()}
    for name, engine in engines.items():
        engine.feed(caches[name], _tokens(context, engine.vocabulary))
    memory = torch.ones(READ // 4)
    if not given.small_pages:
        enlarge_pages([memory])
    passes: dict[tuple[str, int], list[float]] = {}
    reads = []
    for _ in range(given.repeats):
        reads.append(_milliseconds(memory.sum) / READ)
        for name, engine in engines.items():
            for rows in given.rows:
                block = _tokens(rows, engine.vocabulary)
                spent = _milliseconds(lambda e=engine, c=caches[name], b=block: e.feed(c, b, len(b)))
                passes.setdefault((name, rows), []).append(spent)
                caches[name].crop(-rows)
    for name, engine in engines.items():
        engine.free(caches[name])
    return {
        name: ([_quartile(passes[name, rows]) for rows in given.rows], size * _quartile(reads))
        for name, size in sizes.items()
    }


def perplexity(engine: GraphEngine, tokens: Sequence[int]) -> float:
    """Return the exponential of the mean surprise of tokens, each seen after those before it in its window."""
    surprise, count = 0.0, 0
    for start in range(0, len(tokens) - 1, WINDOW):
        window = tokens[start : start + WINDOW + 1]
        cache = engine.new_cache()
        logits = engine.feed(cache, window[:-1], len(window) - 1)
        engine.free(cache)
        surprise += float(
            torch.nn.functional.cross_entropy(logits.float(), torch.tensor(window[1:]), reduction="sum")
        )
        count += len(window) - 1
    return math.exp(surprise / count)


def _tokens(count: int, vocabulary: int) -> list[int]:
    return [(11 + 7919 * index * index) % vocabulary for index in range(count)]


def _milliseconds(step: Any) -> float:
    """Return the CPU time of a step by the thread that waits longest, which on a shared machine is what it costs."""
    began = process_time()
    step()
    return 1e3 * (process_time() - began) / torch.get_num_threads()


def _quartile(values: Sequence[float]) -> float:
    return quantiles(values, n=4)[0] if len(values) > 1 else values[0]


if __name__ == "__main__":
    main()
