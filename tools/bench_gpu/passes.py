"""Times of single programs, and what share of the memory's speed they reach."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from bench_gpu.models import Setting, weight_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

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
