"""A scheduler with the interface of vLLM's, as far as the plugin touches it, and an engine without a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import pytest

from paceline_vllm.engine import set_up
from paceline_vllm.mixin import PolicyMixin


class Status(IntEnum):
    RUNNING = 1
    FINISHED_STOPPED = 2
    FINISHED_LENGTH_CAPPED = 3
    FINISHED_ABORTED = 4


class Request:
    """The fields of vLLM's requests that the plugin reads."""

    def __init__(self, name, prompt, max_tokens, *, eos=None):
        self.request_id = name
        self.prompt_token_ids = list(prompt)
        self.num_prompt_tokens = len(prompt)
        self.max_tokens = max_tokens
        self.output_token_ids: list[int] = []
        self.spec_token_ids: list[int] = []
        self.num_computed_tokens = self.num_output_placeholders = self.num_stale_output_tokens = 0
        self.status = Status.RUNNING
        self.stop_reason = None
        self.eos = eos

    @property
    def num_output_tokens(self):
        return len(self.output_token_ids)

    @property
    def num_tokens(self):
        return self.num_prompt_tokens + len(self.output_token_ids)

    def is_finished(self):
        return self.status > Status.RUNNING


@dataclass
class Output:
    num_scheduled_tokens: dict[str, int]
    total_num_scheduled_tokens: int
    scheduled_spec_decode_tokens: dict[str, list[int]]
    finished_req_ids: set[str]
    num_spec_tokens_to_schedule: int
    num_invalid_spec_tokens: dict[str, int] | None = None
    preempted_req_ids: set[str] | None = None


class Scheduler:
    """Schedules every request in every step: prompts in chunks, then one token and the drafts."""

    def __init__(self, most, chunk=1000):
        self.requests: dict[str, Request] = {}
        self.most, self.chunk = most, chunk
        self.gone: set[str] = set()
        self.closed = False

    def schedule(self, throttle_prefills=False):
        scheduled, drafts = {}, {}
        for name, request in self.requests.items():
            waiting = request.num_tokens - request.num_computed_tokens
            if request.num_output_tokens and waiting == 1:
                scheduled[name] = 1 + len(request.spec_token_ids)
                if request.spec_token_ids:
                    drafts[name], request.spec_token_ids = request.spec_token_ids, []
            else:
                scheduled[name] = min(waiting, self.chunk)
        output = Output(scheduled, sum(scheduled.values()), drafts, self.gone, self.most)
        self.gone = set()
        self._update_after_schedule(output)
        return output

    def _update_after_schedule(self, output):
        for name, count in output.num_scheduled_tokens.items():
            self.requests[name].num_computed_tokens += count

    def update_from_output(self, output, result):
        for name in output.num_scheduled_tokens:
            request = self.requests.get(name)
            if request is None:
                continue
            new = result.sampled_token_ids[result.req_id_to_index[name]]
            if new:
                rejected = len(output.scheduled_spec_decode_tokens.get(name, ())) - (len(new) - 1)
                request.num_computed_tokens -= rejected
            for token in new:
                request.output_token_ids.append(token)
                if token == request.eos:
                    request.status = Status.FINISHED_STOPPED
                elif request.num_output_tokens >= request.max_tokens:
                    request.status = Status.FINISHED_LENGTH_CAPPED
                if request.is_finished():
                    self.forget(name)
                    break
        return "outputs"

    def forget(self, name):
        del self.requests[name]
        self.gone.add(name)

    def shutdown(self):
        self.closed = True


class Steered(PolicyMixin, Scheduler):
    """The fake with the plugin before it."""


class HandClock:
    def __init__(self):
        self.time = 0.0

    def now(self):
        return self.time

    def spend(self, work):
        pass


def vllm_config(block: Any, *, most=4, method="draft_model", speculative=True) -> Any:
    """Return what the plugin reads of vLLM's configuration."""
    return SimpleNamespace(
        additional_config=block if block is None or "paceline" in block else {"paceline": block},
        speculative_config=SimpleNamespace(method=method, num_speculative_tokens=most)
        if speculative
        else None,
        parallel_config=SimpleNamespace(data_parallel_index=0),
        scheduler_config=SimpleNamespace(max_num_seqs=8),
        instance_id="test",
    )


@dataclass
class Engine:
    """Drives a scheduler: drafts what was asked for, and accepts as `agrees(request, position)` says."""

    scheduler: Steered
    clock: HandClock
    agrees: Callable[[str, int], bool] = lambda name, position: True
    text: Callable[[str, int], int] = lambda name, position: 100 + position
    finds: Callable[[str, int], int] = lambda name, gamma: gamma
    seconds: Callable[[int, Any], float] = lambda step, output: 1.0
    steps: int = 0
    outputs: list[Any] = field(default_factory=list)

    @property
    def adapter(self):
        return self.scheduler._paceline_setup.adapter

    def add(self, name="a", prompt=(1, 2, 3), max_tokens=20, **more):
        self.scheduler.requests[name] = Request(name, prompt, max_tokens, **more)
        return self.scheduler.requests[name]

    def schedule(self):
        self.outputs.append(self.scheduler.schedule())
        return self.outputs[-1]

    def run(self, output):
        """Do what a model would, and hand the result to the scheduler."""
        self.clock.time += self.seconds(self.steps, output)
        self.steps += 1
        sampled = [self._sampled(name, output) for name in output.num_scheduled_tokens]
        places = {name: place for place, name in enumerate(output.num_scheduled_tokens)}
        result = SimpleNamespace(sampled_token_ids=sampled, req_id_to_index=places)
        assert self.scheduler.update_from_output(output, result) == "outputs"
        for name in output.num_scheduled_tokens:
            request = self.scheduler.requests.get(name)
            if request is not None and request.num_computed_tokens >= request.num_tokens - 1:
                request.spec_token_ids = [7] * self.finds(name, output.num_spec_tokens_to_schedule)

    def step(self):
        output = self.schedule()
        self.run(output)
        return output

    def serve(self, most=200):
        while self.scheduler.requests and self.steps < most:
            self.step()

    def _sampled(self, name, output):
        request = self.scheduler.requests.get(name)
        if request is None or request.num_computed_tokens < request.num_tokens:
            return []
        place = request.num_output_tokens
        drafted = len(output.scheduled_spec_decode_tokens.get(name, ()))
        accepted = 0
        while accepted < drafted and self.agrees(name, place + accepted):
            accepted += 1
        return [self.text(name, place + n) for n in range(accepted + 1)]


@pytest.fixture
def engine(tmp_path) -> Callable[..., Engine]:
    made = []

    def make(policy: Any, *, most=4, chunk=1000, delay=1, table: Any = (0, 4), **options: Any) -> Engine:
        """Return an engine under a policy: a block of a run file, or a policy to put in the place of one."""
        block: dict[str, Any] = {"status": str(tmp_path / "status.json"), **options}
        if "config" not in options:
            block["policy"] = "static" if hasattr(policy, "plan") else policy
        scheduler = Steered(most, chunk)
        clock = HandClock()
        config = vllm_config(block, most=most)
        setup = set_up(config, table=table, delay=delay, about={"target": "tiny"}, clock=clock)
        if hasattr(policy, "plan"):
            replace_policy(setup.adapter, policy)
        scheduler._paceline_begin(setup)
        made.append(setup)
        return Engine(scheduler, clock)

    yield make
    for setup in made:
        setup.close()


def replace_policy(adapter: Any, policy: Any) -> None:
    """Let an adapter ask another policy, which a configuration could not name."""
    adapter.policy = policy
    adapter._guard.policy = policy


@pytest.fixture
def configured() -> Callable[..., Any]:
    return vllm_config


def leading(bits: Sequence[bool]) -> int:
    return next((n for n, bit in enumerate(bits) if not bit), len(bits))
