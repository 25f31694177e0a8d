"""Measures the graph backend on a GPU and writes `bench.json` and `page.md`; `--tiny` tries all of it on a CPU."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
import transformers

from bench_gpu.measure import BASE, COMPILED, GAMMAS, PROBE, compare, memory_speed, ours, programs, theirs
from bench_gpu.models import FULL, TINY, Setting, random_model
from paceline.backends.graph.cuda.models import open_draft, open_target, runner_for
from paceline.backends.graph.cuda.runner import EagerRunner
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.testing.doubles import ScriptedPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.backends.graph.cuda.draft import CudaDraft
    from paceline.backends.graph.cuda.target import CudaTarget


def write_page(bench: Mapping[str, Any]) -> str:
    """Return what was bench as Markdown."""
    machine = f"{bench['device']}; torch {bench['torch']}, transformers {bench['transformers']}."
    pair = f"Target {bench['target']}, draft {bench['draft']}, random weights, bfloat16."
    text = f"Prompt of {bench['prompt']} tokens, {bench['new']} written."
    memory = f"Memory: {bench['memory_bytes_per_s'] / 1e9:.0f} GB/s in a copy, {bench['memory_gib']:.1f} GiB in use."
    start = f"Programs built in {bench['warm_s']:.1f} s."
    lines = ["# The graph backend, bench", "", f"{machine} {pair} {text} {memory} {start}", ""]
    for context, rows in bench["programs"].items():
        lines += [
            f"## Programs after {context} tokens",
            "",
            "| gamma | draft, ms | verify, ms | share of the roofline |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {row['gamma']} | {1e3 * row.get('draft_s', 0):.3f} | {1e3 * row['verify_s']:.3f} | "
            f"{100 * row['roofline']:.0f} % |"
            for row in rows
        ]
        lines.append("")
    lines += ["## Outside the two programs", "", "| gamma | share of a round |", "|---|---|"]
    lines += [f"| {row['gamma']} | {100 * row['outside']:.1f} % |" for row in bench["rounds"]]
    lines += ["", *_modes("Pair as it is", bench["modes"])]
    lines += _modes("Acceptance imposed: every text of ours but the plain one is INVALID", bench["imposed"])
    lines += _modes("Heads set to zero, so that every draft token is right", bench["agreeing"])
    return "\n".join(lines)


def _modes(title: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    compiled = next((row["ratio"] for row in rows if row["mode"] == COMPILED and "ratio" in row), None)
    lines = [
        f"## {title}",
        "",
        "| mode | over transformers' compiled `generate` | over its plain one | spread of that |",
        "|---|---|---|---|",
    ]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['mode']} | failed: {row['error'].splitlines()[0]} | | |")
            continue
        over = "" if compiled is None else f"{row['ratio'] / compiled:.2f}"
        lines.append(
            f"| {row['mode']} | {over} | {row['ratio']:.2f} | {row['least']:.2f} to {row['most']:.2f} |"
        )
    return [*lines, ""]


def measure(setting: Setting, *, tiny: bool) -> dict[str, Any]:
    """Return everything that is measured, as JSON-able values."""
    big, small = random_model(setting.target, setting, 0), random_model(setting.draft, setting, 1)
    device = torch.device(setting.device)
    runner = EagerRunner(device) if tiny else runner_for(device)
    began = perf_counter()
    target = open_target(big, runner=runner, max_context=setting.context)
    draft = open_draft(small, target=target, max_context=setting.context)
    warm_s = perf_counter() - began
    speed = memory_speed(runner, setting.passes, 2**20 if tiny else PROBE)
    contexts = (setting.prompt, setting.context - 2 * target.engine.largest)
    tables = {str(length): programs(big, target, draft, setting, speed, length) for length in contexts}
    measured = {
        "device": "a CPU, which says nothing about a GPU" if tiny else torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "target": setting.target,
        "draft": setting.draft,
        "prompt": setting.prompt,
        "new": setting.new,
        "memory_bytes_per_s": speed,
        "warm_s": warm_s,
        "memory_gib": 0.0 if tiny else torch.cuda.memory_reserved(device) / 2**30,
        "programs": tables,
        "rounds": _rounds(target, draft, setting, tables[str(setting.prompt)]),
    }
    hf = theirs(big, small, setting)
    plain = {BASE: hf[BASE], COMPILED: hf[COMPILED]}
    measured["modes"] = compare({**hf, **ours(target, draft, setting, imposed=False)}, BASE, setting.repeats)
    measured["imposed"] = compare(
        {**plain, **ours(target, draft, setting, imposed=True)}, BASE, setting.repeats
    )
    for model in (big, small):
        # In place: the programs read the same memory. All logits are 0, and the first token is always the likeliest.
        model.lm_head.weight.detach().zero_()
    measured["agreeing"] = compare(
        {**hf, **ours(target, draft, setting, imposed=False)}, BASE, setting.repeats
    )
    return measured


def _rounds(
    target: CudaTarget, draft: CudaDraft, setting: Setting, table: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return which share of a round passes outside the two programs, by gamma."""
    prompt, rows = [index % target.vocabulary for index in range(setting.prompt)], []
    times = {row["gamma"]: row.get("draft_s", 0.0) + row["verify_s"] for row in table}
    for gamma in (0, *GAMMAS):
        decoder = SpeculativeDecoder(target, {"draft": draft}, ScriptedPolicy([gamma]), eos=frozenset())
        totals = []
        for done in decoder.rounds(prompt, max_new_tokens=setting.new):
            totals.append(done.total_s)
            if done.position + done.emitted + gamma + 1 >= setting.new:
                break  # the budget would cut the next plan
        rows.append({"gamma": gamma, "outside": 1 - times[gamma] / mean(totals[1:])})
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-gpu"), help="Folder that is written to.")
    parser.add_argument(
        "--tiny", action="store_true", help="Tiny models on the CPU: tries the bench, tells no speed."
    )
    chosen = parser.parse_args(arguments)
    if not chosen.tiny and not torch.cuda.is_available():
        parser.error("no CUDA device was found; --tiny tries the bench on a CPU")
    measured = measure(TINY if chosen.tiny else FULL, tiny=chosen.tiny)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "bench.json").write_text(json.dumps(measured, indent=1) + "\n")
    (chosen.out / "page.md").write_text(write_page(measured) + "\n")
    print(f"wrote {chosen.out / 'page.md'}")


if __name__ == "__main__":
    main()
