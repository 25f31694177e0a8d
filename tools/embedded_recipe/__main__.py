"""Make the embedded pair: `python -I tools embedded_recipe --out DIR`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from .pipeline import Options, Run, parameters


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -I tools embedded_recipe", description=__doc__)
    made.add_argument(
        "--out", type=Path, required=True, help="folder of the run: checkpoints, logs and the pair"
    )
    made.add_argument(
        "--minutes", type=float, default=240.0, help="time for the target (and drafts beside it)"
    )
    made.add_argument(
        "--distil-minutes", type=float, default=60.0, help="time for the drafts alone, afterwards"
    )
    made.add_argument("--start", type=Path, help="a first target with its tokenizer to go on from")
    made.add_argument("--pair", type=Path, help="a finished pair whose drafts are distilled further")
    made.add_argument(
        "--only", action="append", default=[], help="with --pair: this draft alone; may be given again"
    )
    made.add_argument("--docs", type=Path, help="folder of the .rst.txt sources of Python's documentation")
    made.add_argument("--export", type=Path, help="where to write the pair (default: OUT/pair)")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--seed", type=int, default=1)
    return made


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe from the command line."""
    given = parser().parse_args(arguments)
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    run = Run(
        Options(
            out=given.out,
            minutes=given.minutes,
            distil_minutes=given.distil_minutes,
            start=given.start,
            pair=given.pair,
            only=tuple(given.only),
            docs=given.docs,
            export=given.export,
            seed=given.seed,
        )
    )
    print(f"{len(run.tokens):,} training tokens, {len(run.held_out)} documents held out", flush=True)
    run.resume()
    print(run.state.stage, run.state.step, parameters(run.models), flush=True)
    run.train()


if __name__ == "__main__":
    main()
