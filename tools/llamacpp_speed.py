"""Times policies on llama.cpp against its plain decoding, and against llama-cpp-python's own prompt lookup.

Every prompt is decoded in each mode before the next prompt; the mode that begins changes. Counted is CPU time of one
thread, after the first round, so that what else the machine does counts less. Policies read the same clock, and go on
learning from prompt to prompt. Each line of `--out` is one text; `--table` prints what they come to.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any, Final

from paceline import GenerationConfig, SpeculativeDecoder, load_config
from paceline.core.plugins.catalogue import Catalogue, build_draft, build_policy
from paceline.lab.short_names import parse_policy
from paceline.lab.stats import speedup
from paceline.lab.workloads.named import load
from paceline_llamacpp.config import LlamaCppConfig
from paceline_llamacpp.loading import load_target
from paceline_llamacpp.references import library_model

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterable, Sequence

    from paceline import Target

    Line = dict[str, Any]
    Decode = Callable[[list[int], int], Line]

PLAIN: Final = "plain"
POLICIES: Final = ("static-2", "static-4", "static-8", "auto", "survival")
LOOKUPS: Final = (2, 10)
"""Lengths of llama-cpp-python's prompt lookup: its documentation advises 2 for CPUs, and has 10 as the default."""


class CpuClock:
    """CPU seconds of this process."""

    def now(self) -> float:
        """Return the seconds spent so far."""
        return process_time()

    def spend(self, work: object) -> None:
        """Do nothing: time passes by itself."""


def ours(target: Target, policy: str, temperature: float) -> Decode:
    """Return a mode of paceline's loop, with prompt lookup as the only draft."""
    run = load_config({"drafts": {"lookup": {"backend": "prompt-lookup"}}})
    drafts = {} if policy == PLAIN else {"lookup": build_draft(run.drafts["lookup"], target)}
    sampling = GenerationConfig(temperature=temperature).sampling()
    name = "static-4" if policy == PLAIN else policy
    decoder = SpeculativeDecoder(
        target,
        drafts,
        build_policy(parse_policy(name, Catalogue.load())),
        clock=CpuClock(),
        sampling=sampling,
    )

    def decode(prompt: list[int], limit: int) -> Line:
        rounds = iter(decoder.rounds(prompt, max_new_tokens=limit))
        tokens = list(next(rounds).tokens)
        began, engine_s, first, drafted, accepted = process_time(), 0.0, len(tokens), 0, 0
        for done in rounds:
            tokens += done.tokens
            engine_s += done.draft_s + done.verify_s
            drafted += done.drafted
            accepted += done.accepted
        return {
            "tokens": tokens,
            "counted": len(tokens) - first,
            "seconds": process_time() - began,
            "engine_s": engine_s,
            "drafted": drafted,
            "accepted": accepted,
        }

    return decode


def theirs(config: LlamaCppConfig, target: Target, lookup: int | None) -> Decode:
    """Return a way of llama-cpp-python itself."""
    model = library_model(config, target, lookup)

    def decode(prompt: list[int], limit: int) -> Line:
        tokens: list[int] = []
        began = 0.0
        for token in model().generate(prompt, temp=0.0, repeat_penalty=1.0):
            if not tokens:
                began = process_time()
            tokens.append(int(token))
            if token in target.eos or len(tokens) == limit:
                break
        return {"tokens": tokens, "counted": len(tokens) - 1, "seconds": process_time() - began}

    return decode


def measure(given: Namespace) -> None:
    """Decode every prompt in every mode, and append a line for each text."""
    config = LlamaCppConfig(model=str(given.model), context=2048, block_multiple=given.block_multiple)
    # The prompt is read once for all modes; llama-cpp-python does the same by itself.
    target = load_target(config).keep_prefixes(1)
    modes = {name: ours(target, name, given.temperature) for name in (PLAIN, *given.policies)}
    if not given.temperature:
        modes |= {f"llama-cpp-python lookup {n}": theirs(config, target, n) for n in given.lookups}
        modes["llama-cpp-python"] = theirs(config, target, None)
    with given.out.open("a", encoding="utf-8") as out:
        for turn, prompt in enumerate(prompts(target, given)):
            order = list(modes)
            order = order[turn % len(order) :] + order[: turn % len(order)]
            for name in order:
                text = modes[name](prompt["tokens"], given.max_new_tokens)
                line = {
                    "prompt": prompt["name"],
                    "kind": prompt["kind"],
                    "mode": name,
                    "model": config.path.name,
                    "temperature": given.temperature,
                    "block_multiple": given.block_multiple,
                }
                out.write(json.dumps(line | text) + "\n")
                out.flush()


def prompts(target: Target, given: Namespace) -> Iterable[Line]:
    """Yield the first conversations of each kind in the workload `chat` that fit."""
    decoder = SpeculativeDecoder(target, {}, build_policy(parse_policy("static-4", Catalogue.load())))
    counts: dict[str, int] = {}
    for text in load("chat").texts:
        if counts.get(text.kind, 0) == given.each or text.messages is None:
            continue
        tokens = decoder.encode_chat(text.messages, **text.options)
        if len(tokens) <= given.longest:
            counts[text.kind] = counts.get(text.kind, 0) + 1
            yield {"name": text.name, "kind": text.kind, "tokens": tokens}


def table(lines: Sequence[Line]) -> str:
    """Return the modes of one run with their speed over plain decoding, the slowest kind, and texts that parted."""
    modes: dict[str, dict[str, Line]] = {}
    for line in lines:
        modes.setdefault(line["mode"], {})[line["prompt"]] = line
    plain = modes.pop(PLAIN)
    names = [name for name in plain if all(name in mode for mode in modes.values())]
    heads = ("mode", "over plain decoding", "slowest kind", "accepted", "loop and policy", "texts that part")
    rows = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for mode, by_prompt in modes.items():
        pairs = [(by_prompt[name], plain[name]) for name in names if by_prompt[name]["counted"]]
        rows.append("| " + " | ".join((mode, *cells(pairs))) + " |")
    return "\n".join(rows)


def cells(pairs: Sequence[tuple[Line, Line]]) -> Iterable[str]:
    """Yield the cells of one mode, from its texts and those of plain decoding."""
    yield str(speedup(*amounts(pairs)))
    by_kind: dict[str, list[tuple[Line, Line]]] = {}
    for pair in pairs:
        by_kind.setdefault(pair[0]["kind"], []).append(pair)
    ratios = {kind: speedup(*amounts(part)) for kind, part in by_kind.items()}
    value, kind = min((ratio.value, kind) for kind, ratio in ratios.items() if ratio is not None)
    yield f"{value:.2f} ({kind})"
    texts = [line for line, _ in pairs]
    drafted = sum(line.get("drafted", 0) for line in texts)
    yield f"{sum(line['accepted'] for line in texts) / drafted:.0%}" if drafted else ""
    ours = "engine_s" in texts[0]
    seconds = sum(line["seconds"] for line in texts)
    yield f"{1 - sum(line['engine_s'] for line in texts) / seconds:.1%}" if ours else ""
    parted = sum(line["tokens"] != alone["tokens"] for line, alone in pairs)
    yield "" if texts[0]["temperature"] else f"{parted} of {len(pairs)}"


def amounts(pairs: Sequence[tuple[Line, Line]]) -> tuple[list[float], ...]:
    """Return tokens and seconds of each text in a mode, and of the same prompts decoded plainly."""
    return tuple(
        [line[key] for line in side] for side in zip(*pairs, strict=True) for key in ("counted", "seconds")
    )


def main() -> None:
    """Measure, or print the table of what was measured."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a GGUF file of a model for conversations")
    parser.add_argument("--out", type=Path, default=Path("runs/llamacpp.jsonl"))
    parser.add_argument("--each", type=int, default=1, help="prompts of each kind")
    parser.add_argument("--longest", type=int, default=700, help="tokens of the longest prompt")
    parser.add_argument("-n", "--max-new-tokens", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--policies", nargs="*", default=POLICIES)
    parser.add_argument("--lookups", nargs="*", type=int, default=LOOKUPS)
    parser.add_argument("--block-multiple", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print what `--out` holds of this run")
    given = parser.parse_args()
    if not given.table:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        measure(given)
    lines = [json.loads(line) for line in given.out.read_text(encoding="utf-8").splitlines()]
    run = {
        "model": given.model.name,
        "temperature": given.temperature,
        "block_multiple": given.block_multiple,
    }
    sys.stdout.write(table([line for line in lines if {key: line[key] for key in run} == run]) + "\n")


if __name__ == "__main__":
    main()
