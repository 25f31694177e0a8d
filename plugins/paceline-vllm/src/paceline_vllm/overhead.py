"""Overhead of a policy in each step of the engine: all that this package does in one, timed without an engine."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from types import SimpleNamespace
from typing import Any

from paceline import PolicyConfig
from paceline_vllm.adapter import Adapter, capabilities
from paceline_vllm.mixin import PolicyMixin

MAX_GAMMA = 4


class IdleScheduler:
    """A scheduler that does nothing, so that what is timed is the plugin alone."""

    def schedule(self) -> None:
        """Schedule nothing."""

    def _update_after_schedule(self, output: Any) -> None:
        """Advance nothing."""

    def update_from_output(self, output: Any, result: Any) -> None:
        """Take in what was decoded: every request gets its tokens."""
        for name, place in result.req_id_to_index.items():
            request = self.requests[name]  # type: ignore[attr-defined]
            request.num_output_tokens += len(result.sampled_token_ids[place])


class TimedScheduler(PolicyMixin, IdleScheduler):
    """The plugin before it."""


def overhead_s(
    policy: PolicyConfig, *, requests: int = 32, steps: int = 400, rounds_per_step: int | None = 4
) -> float:
    """Return the median seconds that a policy and this package take of one step with so many requests.

    Half of the draft tokens are accepted. The first steps are left out.
    """
    adapter = Adapter(policy.build(0), capabilities(MAX_GAMMA, 1), rounds_per_step=rounds_per_step)
    setup = SimpleNamespace(adapter=adapter, fixed_plan=None, record=_unrecorded)
    scheduler = TimedScheduler()
    scheduler._paceline_begin(setup)  # type: ignore[arg-type]  # noqa: SLF001
    scheduler.requests = {f"request-{n}": _request(f"request-{n}") for n in range(requests)}
    times, pending = [], 0
    for step in range(steps):
        output, result = _step(scheduler.requests, pending, accepted=pending // 2)
        began = perf_counter()
        scheduler.schedule()
        scheduler._update_after_schedule(output)  # noqa: SLF001
        scheduler.update_from_output(output, result)
        spent = perf_counter() - began
        pending = output.num_spec_tokens_to_schedule
        if step >= steps // 4:
            times.append(spent)
    began = perf_counter()
    for _ in range(100):
        IdleScheduler.update_from_output(scheduler, output, result)
    return median(times) - (perf_counter() - began) / 100


def _unrecorded(request: Any) -> None:
    """Trace nothing."""


def _request(name: str) -> Any:
    return SimpleNamespace(
        request_id=name,
        num_computed_tokens=100,
        num_prompt_tokens=100,
        num_output_tokens=1,
        num_tokens=101,
        num_output_placeholders=0,
        num_stale_output_tokens=0,
        max_tokens=100_000,
        output_token_ids=[5] * 10_000,
        status=SimpleNamespace(name="RUNNING"),
        is_finished=lambda: False,
    )


def _step(requests: dict[str, Any], drafted: int, *, accepted: int) -> tuple[Any, Any]:
    names = list(requests)
    output = SimpleNamespace(
        num_scheduled_tokens=dict.fromkeys(names, 1 + drafted),
        total_num_scheduled_tokens=len(names) * (1 + drafted),
        scheduled_spec_decode_tokens={name: [5] * drafted for name in names} if drafted else {},
        finished_req_ids=set(),
        preempted_req_ids=set(),
        num_invalid_spec_tokens=None,
        num_spec_tokens_to_schedule=MAX_GAMMA,
    )
    result = SimpleNamespace(
        sampled_token_ids=[[5] * (accepted + 1) for _ in names],
        req_id_to_index={name: place for place, name in enumerate(names)},
    )
    return output, result
