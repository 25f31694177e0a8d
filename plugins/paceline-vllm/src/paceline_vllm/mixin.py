"""What is added to vLLM's scheduler. Every attribute begins with `_paceline`, since the class is vLLM's.

vLLM drafts at the end of a step as many tokens as the step's output says, and verifies them in the next step. So a plan
is made when a step has been scheduled, and is in force for the rounds of the step after: `action_delay` 1, and at least
2 where vLLM schedules the next step before the last one is over. `Turn.plan` is what was in force.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from paceline_vllm.steps import PREFILL, Served, Step, Turn, end_of

if TYPE_CHECKING:
    from paceline import Plan
    from paceline_vllm.engine import Setup


class PolicyMixin:
    """Goes before a scheduler class among the bases of one that asks a policy."""

    _paceline_delay = 1
    _paceline_setup: Setup
    requests: dict[str, Any]

    def _paceline_begin(self, setup: Setup) -> None:
        self._paceline_setup = setup
        self._paceline_served: dict[str, Served] = {}
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
        """Show the policy what came of a step."""
        try:
            step = self._paceline_take(output, result)
        except Exception as error:  # noqa: BLE001 - whatever happens here, the server goes on
            step = None
            self._paceline_setup.adapter.give_up(error)
        outputs = super().update_from_output(output, result)  # type: ignore[misc]
        if step is not None:
            try:
                self._paceline_observe(step)
            except Exception as error:  # noqa: BLE001 - whatever happens here, the server goes on
                self._paceline_setup.adapter.give_up(error)
        return outputs

    def shutdown(self) -> None:
        """Close what was opened."""
        self._paceline_setup.close()
        super().shutdown()  # type: ignore[misc]

    def _paceline_plan(self, output: Any) -> None:
        served, verifying = self._paceline_served, output.scheduled_spec_decode_tokens
        for name in output.finished_req_ids:
            gone = served.pop(name, None)
            if gone is not None and gone.recorder is not None:
                gone.recorder.end(None)
        turns, decodes = [], True
        for name, scheduled in output.num_scheduled_tokens.items():
            request = self.requests[name]
            before = request.num_computed_tokens
            if before >= request.num_prompt_tokens and scheduled == 1 + len(verifying.get(name, ())):
                known = served.get(name)
                if known is None:
                    known = served[name] = Served()
                turns.append(Turn(request, known, known.plan or PREFILL))
                continue
            decodes = False
            if before + scheduled >= request.num_tokens + request.num_output_placeholders:
                known = served.get(name)
                if known is None:
                    known = served[name] = Served(recorder=self._paceline_setup.record(request))
                turns.append(Turn(request, known, PREFILL))
        if not turns:
            return
        plan = self._paceline_decide(turns, output)
        for turn in turns:
            turn.served.plan = plan
        step = Step(
            output, turns, plan.gamma, output.total_num_scheduled_tokens, decodes, self._paceline_began
        )
        self._paceline_steps.append(step)

    def _paceline_decide(self, turns: list[Turn], output: Any) -> Plan:
        if self._paceline_setup.fixed is not None:
            return self._paceline_setup.fixed
        plan = self._paceline_setup.adapter.plan(turns)
        output.num_spec_tokens_to_schedule = plan.gamma
        return plan

    def _paceline_take(self, output: Any, result: Any) -> Step | None:
        """Find the step of an output, and note what its requests stood at before vLLM adds the new tokens."""
        step = next((one for one in self._paceline_steps if one.output is output), None)
        if step is None:  # nothing in it emitted tokens
            return None
        while (
            self._paceline_steps.popleft() is not step
        ):  # steps come back in order; vLLM dropped those before
            pass
        sampled, places = result.sampled_token_ids, result.req_id_to_index
        verifying, invalid = output.scheduled_spec_decode_tokens, output.num_invalid_spec_tokens or {}
        kept = []
        for turn in step.turns:
            request = turn.request
            name = request.request_id
            place = places.get(name)
            if name not in self.requests or place is None or request.num_stale_output_tokens:
                step.decodes = False  # aborted or preempted meanwhile
                continue
            turn.position, turn.context = request.num_output_tokens, request.num_tokens
            turn.drafted = len(verifying.get(name, ())) - invalid.get(name, 0)
            turn.accepted = max(len(sampled[place]) - 1, 0) if sampled else 0
            kept.append(turn)
        step.turns = kept
        return step

    def _paceline_observe(self, step: Step) -> None:
        for turn, done in self._paceline_setup.adapter.observe(step):
            turn.served.recorder.round(done)
        for turn in step.turns:
            request = turn.request
            if request.is_finished():
                gone = self._paceline_served.pop(request.request_id, None)
                if gone is not None and gone.recorder is not None:
                    gone.recorder.end(end_of(request))
