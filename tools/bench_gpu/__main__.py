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

from bench_gpu.models import FULL, TINY, Setting, random_model
from bench_gpu.modes import BASE, COMPILED, GAMMAS, compare, ours, theirs
from bench_gpu.page import write_page
from bench_gpu.passes import PROBE, memory_speed, programs
from paceline.backends.graph.cuda.models import open_draft, open_target, runner_for
from paceline.backends.graph.cuda.runner import EagerRunner
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.testing.doubles import ScriptedPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.backends.graph.cuda.draft import CudaDraft
    from paceline.backends.graph.cuda.target import CudaTarget


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
