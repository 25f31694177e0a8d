"""Mixin for vLLM's scheduler. Every attribute begins with `_paceline`, since the class is vLLM's.

vLLM drafts at the end of a step as many tokens as the step's output says, and verifies them in the next step. So a plan
is made when a step has been scheduled, and is in force for the rounds of the step after: `action_delay` 1, and at least
2 where vLLM schedules the next step before the last one is over. `Step.plans` are what is in force.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import structlog

from paceline import PacelineError
from paceline_vllm.steps import ActiveRequests, Step, request_steps

if TYPE_CHECKING:
    from paceline_vllm.engine import Setup

log = structlog.get_logger()


class PolicyMixin:
    """Goes before a scheduler class among the bases of one that asks a policy."""

    _paceline_delay = 1
    _paceline_setup: Setup
    requests: dict[str, Any]

    def _paceline_begin(self, setup: Setup) -> None:
        self._paceline_setup = setup
        self._paceline_active = ActiveRequests(setup.record)
        self._paceline_steps: deque[Step] = deque()
        self._paceline_began = 0.0

    def schedule(self, *args: Any, **options: Any) -> Any:
        """Note when the step began."""
        self._paceline_began = self._paceline_setup.adapter.clock.now()
        return super().schedule(*args, **options)  # type: ignore[misc]

    def _update_after_schedule(self, output: Any) -> None:
        """Choose what is drafted at the end of this step; called by vLLM when it knows who takes part."""
        try:
            self._paceline_plan(output)
        except Exception as error:  # noqa: BLE001 - whatever happens here, the server goes on
            self._paceline_setup.adapter.give_up(error)
        super()._update_after_schedule(output)  # type: ignore[misc]

    def update_from_output(self, output: Any, result: Any) -> Any:
        """Show the policy what came of a step, before and after vLLM adds the new tokens to the requests."""
        adapter = self._paceline_setup.adapter
        step, parts = None, []
        try:
            step = self._paceline_take(output)
            if step is not None:
                parts = request_steps(step, adapter.observed(step), result)
        except Exception as error:  # noqa: BLE001 - whatever happens here, the server goes on
            adapter.give_up(error)
        outputs = super().update_from_output(output, result)  # type: ignore[misc]
        try:
            if step is not None:
                adapter.observe(step, parts)
        except Exception as error:  # noqa: BLE001 - whatever happens here, the server goes on
            adapter.give_up(error)
        return outputs

    def shutdown(self) -> None:
        """Close what was opened."""
        try:
            self._paceline_active.close()
        except (OSError, PacelineError) as error:  # a full disk, or a trace that is closed already
            log.warning("trace_cut", reason=str(error))
        self._paceline_setup.close()
        super().shutdown()  # type: ignore[misc]

    def _paceline_plan(self, output: Any) -> None:
        setup, active = self._paceline_setup, self._paceline_active
        step = active.step(output, self.requests, self._paceline_began)
        if step is None:
            return
        plan = setup.fixed_plan
        if plan is None:
            plan = setup.adapter.plan(step)
            output.num_spec_tokens_to_schedule = plan.gamma
        active.set_plan(plan)
        step.gamma = plan.gamma
        self._paceline_steps.append(step)

    def _paceline_take(self, output: Any) -> Step | None:
        """Find the step of an output; steps come back in order, and vLLM may drop some."""
        step = next((step for step in self._paceline_steps if step.output is output), None)
        while step is not None and self._paceline_steps.popleft() is not step:
            pass
        return step
