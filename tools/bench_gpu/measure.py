"""Times of single programs against the speed of the memory, and of whole texts in ways that take turns."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from bench_gpu.models import ImposedTarget, Setting, weight_bytes
from paceline.backends.torch.host import no_warnings
from paceline.backends.transformers.host.cache import STATIC_CACHES_ROLL_BACK
from paceline.backends.transformers.host.generation import static_cache
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.testing.doubles import ScriptedPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench_gpu.models import Setting
    from paceline.backends.graph.cuda.draft import CudaDraft
    from paceline.backends.graph.cuda.runner import Runner
    from paceline.backends.graph.cuda.target import CudaTarget


PROBE = 2**28
"""Bytes copied to find the speed of the memory; far more than any cache of a GPU holds."""


def seconds(runner: Runner, run: Callable[[], Any], passes: int) -> float:
    """Return the median over three of the mean seconds of a run, by the device's clock."""
    times, place = [], runner.host(1)
    with runner.work():
        probe = torch.zeros(1, dtype=torch.float64, device=runner.device)
        for _ in range(3):
            first, last = runner.event(), runner.event()
            run()
            first.record()
            for _ in range(passes):
                run()
            last.record()
            runner.fetch(probe, place)
            times.append(last.seconds_since(first) / passes)
    return median(times)


def memory_speed(runner: Runner, passes: int, size: int = PROBE) -> float:
    """Return the bytes a second that a copy reads and writes together."""
    source = torch.zeros(size, dtype=torch.uint8, device=runner.device)
    target = torch.empty_like(source)
    return 2 * size / seconds(runner, lambda: target.copy_(source), passes)


def programs(
    model: Any, target: CudaTarget, draft: CudaDraft, setting: Setting, speed: float, context: int
) -> list[dict[str, Any]]:
    """Return for each tier the seconds of both programs after `context` tokens, and the target's share of the roofline.

    The roofline is the time in which the memory delivers the weights once, and keys and values of the context.
    """
    prompt = [index % target.vocabulary for index in range(context)]
    verifying, drafting = target.open(prompt), draft.open(prompt)
    shape = target.engine.network.shape
    per_token = 2 * shape.layers * shape.kv_heads * shape.head_dim * 2
    least = (weight_bytes(model) + context * per_token) / speed
    rows = []
    try:
        for tier in target.engine.tiers:
            verifying.verify(drafting.draft(tier, None) if tier else None)
            run = verifying.buffers.verifier(tier, verifying.buffers.span(context + tier))
            # Each verification moves on, and would run out of the cache: it is put back by a copy of two numbers.
            begin = verifying.buffers.state.new_tensor([float(prompt[-1]), float(context)])

            def again(run: Callable[[], None] = run, begin: torch.Tensor = begin) -> None:
                verifying.buffers.state.copy_(begin)
                run()

            verify_s = seconds(target.engine.runner, again, setting.passes)
            row: dict[str, Any] = {"gamma": tier, "verify_s": verify_s, "roofline": least / verify_s}
            if tier:
                drafter = drafting.buffers.drafter(tier, drafting.buffers.span(context + tier), looks=False)
                row["draft_s"] = seconds(draft.engine.runner, drafter, setting.passes)
            rows.append(row)
    finally:
        verifying.close()
        drafting.close()
    return rows


RATES = (0.6, 0.8)
"""Acceptance that is imposed: of a modest pair and of a good one."""

GAMMAS = (2, 4, 8)

BASE = "hf plain"
COMPILED = "hf compiled"
"""The mode that a user would pick on a GPU before any of our ways."""


def theirs(target: Any, draft: Any, setting: Setting) -> dict[str, Callable[[], int]]:
    """Return transformers' ways; each writes a text and returns how many tokens it has.

    A static cache makes `generate` compile its passes on a GPU, not on a CPU.
    """
    ids = torch.arange(setting.prompt, device=target.device)[None] % target.config.vocab_size

    def way(**options: Any) -> Callable[[], int]:
        def write() -> int:
            with no_warnings():
                output = target.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    do_sample=False,
                    max_new_tokens=setting.new,
                    pad_token_id=0,
                    **options,
                )
            return int(output.shape[1]) - setting.prompt

        return write

    static = static_cache(setting.prompt + setting.new)
    ways = {BASE: way(), "hf assisted": way(assistant_model=draft), COMPILED: way(**static)}
    if STATIC_CACHES_ROLL_BACK:
        ways[f"{COMPILED} assisted"] = way(**static, assistant_model=draft)
    return ways


def ours(
    target: CudaTarget, draft: CudaDraft, setting: Setting, *, imposed: bool
) -> dict[str, Callable[[], int]]:
    """Return our ways; with `imposed`, for each rate and gamma, else with the pair as it is."""
    prompt = [index % target.vocabulary for index in range(setting.prompt)]

    def way(model: CudaTarget, gamma: int) -> Callable[[], int]:
        # A round near the end may plan any gamma up to its budget; the script must not leave the tiers.
        tiers = [tier for tier in model.engine.tiers if tier <= gamma]

        class Steady(ScriptedPolicy):
            def plan(self, start: Any) -> Any:
                self._plans = [type(self._plans[0])(max(tier for tier in tiers if tier <= start.budget))]
                return super().plan(start)

        decoder = SpeculativeDecoder(model, {"draft": draft}, Steady([gamma]), eos=frozenset())
        return lambda: len(decoder.generate(prompt, max_new_tokens=setting.new).tokens)

    ways = {"graph plain": way(target, 0)}
    if not imposed:
        return {**ways, **{f"graph gamma {gamma}": way(target, gamma) for gamma in GAMMAS}}
    for rate in RATES:
        model = ImposedTarget(target.engine, rate)
        model.warm()
        ways |= {f"graph gamma {gamma}, imposed {rate}": way(model, gamma) for gamma in GAMMAS}
    return ways


def compare(ways: Mapping[str, Callable[[], int]], base: str, repeats: int) -> list[dict[str, Any]]:
    """Let the ways take turns; return tokens a second as ratios to `base`, the median over the repeats of each.

    A way that raises is reported with its error, and left out.
    """
    rates: dict[str, list[float]] = {name: [] for name in ways}
    failed: dict[str, str] = {}
    for turn in range(repeats + 1):
        for name, write in ways.items():
            if name in failed:
                continue
            began = perf_counter()
            try:
                tokens = write()
            except Exception as error:  # noqa: BLE001 - whatever a library raises is shown in the table
                failed[name] = f"{type(error).__name__}: {error}"
                continue
            if turn:  # the first turn compiles, and chooses kernels
                rates[name].append(tokens / (perf_counter() - began))
    against = median(rates[base])
    return [
        {"mode": name, "error": failed[name]}
        if name in failed
        else {
            "mode": name,
            "ratio": median(ratios) / against,
            "least": min(ratios) / against,
            "most": max(ratios) / against,
        }
        for name, ratios in rates.items()
    ]
