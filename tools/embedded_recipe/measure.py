"""Measure a pair: `python -I tools embedded_recipe.measure --pair DIR --out FILE`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from paceline.backends import embedded
from paceline.backends.torch.host import no_progress_bars

from . import corpus, evaluate
from .tokenizer import load_tokenizer

NAMES = ("target", "draft-small", "draft-medium")
PROMPTS = Path(embedded.__file__).parent / "prompts.json"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -I tools embedded_recipe.measure", description=__doc__)
    made.add_argument(
        "--pair", type=Path, required=True, help="folder with target, draft-small and draft-medium"
    )
    made.add_argument("--out", type=Path, required=True, help="where to write the measures, as JSON")
    made.add_argument("--start", type=Path, help="a first target with the same tokenizer, to compare with")
    made.add_argument("--docs", type=Path, help="folder of the .rst.txt sources of Python's documentation")
    made.add_argument(
        "--stdlib", type=Path, help="the standard library trained on (default: the running one)"
    )
    made.add_argument(
        "--fresh", type=Path, help="a newer standard library; only what is new in it is measured"
    )
    made.add_argument("--prompts", type=Path, default=PROMPTS, help="prompts for the greedy text")
    made.add_argument(
        "--blocks", type=int, default=10, help="blocks of 512 tokens a kind; four times that for all"
    )
    made.add_argument("--new", type=int, default=192, help="tokens of greedy text a prompt; 0 for none")
    made.add_argument("--threads", type=int, default=2)
    return made


def load(pair: Path, start: Path | None = None) -> dict[str, LlamaForCausalLM]:
    """Return the models of a pair in float32, and the first target under `start` where it is given."""
    folders = {name: pair / name for name in NAMES}
    if start is not None:
        folders["start"] = start
    with no_progress_bars():
        return {
            name: LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
            for name, folder in folders.items()
        }


def main(arguments: list[str] | None = None) -> None:
    """Measure from the command line and write after each part, so that a stop loses little."""
    given = parser().parse_args(arguments)
    torch.set_num_threads(given.threads)
    models, tokenizer = load(given.pair, given.start), load_tokenizer(given.pair / "target")
    documents = corpus.find_documents(given.docs, given.stdlib)
    measures: dict[str, object] = {}

    def keep(name: str, value: Mapping[str, object]) -> None:
        measures[name] = value
        given.out.write_text(json.dumps(measures, indent=1) + "\n")

    if given.fresh is not None:
        known = corpus.find_documents(given.docs, given.stdlib, capped=False)
        new = evaluate.fresh_documents(given.fresh, known)
        keep("fresh files", {d.name: d.kind for d in new})
        keep("fresh", evaluate.by_kind(models, tokenizer, new, given.blocks))
    held_out = [d for d in documents if d.held_out]
    keep("held out", evaluate.by_kind(models, tokenizer, held_out, given.blocks))
    if given.new:
        pair = {name: models[name] for name in NAMES}
        prompts = json.loads(given.prompts.read_text(encoding="utf-8"))
        keep("greedy", evaluate.greedy_measures(pair, tokenizer, prompts, given.new))


if __name__ == "__main__":
    main()
