"""The requests of a step: those that emit a token in it, the plan in force for each, and the rounds that come of it.

Most steps have the same requests as the one before. Then the plan that was made there is in force for all of them, and
nothing is looked up request by request: with many requests that would take longer than the policy does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from paceline import Ended, Plan, Round, RoundStart, finish_round

PREFILL = Plan(0, reason="prefill")
"""The plan of a request's first token, which comes with its prompt: nothing could be decided before."""

ENDED: dict[str, Ended] = {
    "FINISHED_STOPPED": "stop",
    "FINISHED_REPETITION": "stop",
    "FINISHED_LENGTH_CAPPED": "length",
}
"""By the name of vLLM's status; a request with another one, as an aborted one, has no end of its own."""


@dataclass(slots=True)
class ActiveRequest:
    """One request under way.

    Attributes:
        request: vLLM's request.
        plan: What was planned for its next round, in the last step it took part in.
        rounds: Rounds so far, the first token counted as one; see `ActiveRequests` for when this is brought up to date.
        recorder: Where its rounds are traced, if they are.
    """

    request: Any
    plan: Plan = PREFILL
    rounds: int = 0
    recorder: Any = None


@dataclass(slots=True)
class Step:
    """One step of the engine that is under way.

    Attributes:
        output: vLLM's output of the scheduler, by which the step is found again.
        requests: Those that will emit tokens.
        plans: What is in force for each of them, or for all: the plan of the step that drafted what this one verifies.
        uncounted: Rounds of each request that its `rounds` does not hold yet.
        verified: Tokens that go through the target.
        only_decodes: Whether nothing but decoding is done in it.
        began: When it was scheduled.
        gamma: What is drafted at its end, for the next one.
    """

    output: Any
    requests: list[ActiveRequest]
    plans: Plan | list[Plan]
    uncounted: int
    verified: int
    only_decodes: bool
    began: float
    gamma: int = 0

    def plan(self, index: int) -> Plan:
        """Return what is in force for the request at this index."""
        return self.plans if isinstance(self.plans, Plan) else self.plans[index]


class ActiveRequests:
    """The requests under way.

    Args:
        record: Returns what records the rounds of a request, or None.
    """

    def __init__(self, record: Callable[[Any], Any]) -> None:
        self._record = record
        self._active: dict[str, ActiveRequest] = {}
        self._last: list[ActiveRequest] = []  # those of the last step
        self._names: set[str] = set()  # of the last step, if all that it scheduled emits
        self._plan = PREFILL  # made in the last step
        self._uncounted = 0  # steps since the list of requests was made; not yet added to their rounds

    def __len__(self) -> int:
        return len(self._active)

    def step(self, output: Any, requests: dict[str, Any], began: float) -> Step | None:
        """Return the step of a scheduler's output, or None when no request will emit a token in it.

        Called before vLLM counts the scheduled tokens as computed.
        """
        scheduled, verifying = output.num_scheduled_tokens, output.scheduled_spec_decode_tokens
        total = output.total_num_scheduled_tokens
        # A request that decodes is scheduled one token and its drafts, and no request less than that; one that must
        # read its tokens again, because it was preempted, could be scheduled as few.
        if (
            self._names
            and scheduled.keys() == self._names
            and not output.finished_req_ids
            and not output.preempted_req_ids
            and total == len(scheduled) + sum(map(len, verifying.values()))
        ):
            self._uncounted += 1
            return Step(output, self._last, self._plan, self._uncounted, total, True, began)
        self._settle(output.finished_req_ids)
        emitting, plans, only_decodes = [], [], True
        for name, count in scheduled.items():
            request = requests[name]
            computed = request.num_computed_tokens
            active = self._active.get(name)
            if computed >= request.num_prompt_tokens and count == 1 + len(verifying.get(name, ())):
                if active is None:
                    active = self._active[name] = ActiveRequest(request)
                plans.append(active.plan)
            else:
                only_decodes = False
                if computed + count < request.num_tokens + request.num_output_placeholders:
                    continue  # a piece of a prompt, and not the last one
                if active is None:
                    active = self._active[name] = ActiveRequest(request, recorder=self._record(request))
                plans.append(PREFILL)
            emitting.append(active)
        self._last = emitting
        self._names = set(scheduled) if len(emitting) == len(scheduled) else set()
        return Step(output, emitting, plans, 0, total, only_decodes, began) if emitting else None

    def set_plan(self, plan: Plan) -> None:
        """Note what was planned for all requests of the last step; in force in the next step of each."""
        self._plan = plan

    def close(self) -> None:
        """End the record of every request that is still under way."""
        for active in self._active.values():
            if active.recorder is not None:
                active.recorder.end(None)
                active.recorder = None

    def _settle(self, finished: set[str]) -> None:
        """Give each request of the last step its plan and its rounds, and forget those that are over."""
        for active in self._last:
            active.plan = self._plan
            active.rounds += self._uncounted + 1
        self._last, self._uncounted = [], 0
        for name in finished:
            over = self._active.pop(name, None)
            if over is not None and over.recorder is not None:
                over.recorder.end(None)  # aborted, or it failed: else its last round had ended it


class RequestStep(NamedTuple):
    """One request's part in a step whose outcome is known and not yet added to the request.

    Attributes:
        active: The request.
        plan, number, position, context, drafted, accepted: Of its round, whose `index` is `number`.
    """

    active: ActiveRequest
    plan: Plan
    number: int
    position: int
    context: int
    drafted: int
    accepted: int

    def round(self, start: RoundStart, seconds: float) -> Round | None:
        """Return the round, once it was added to the request; None when it delivered nothing.

        `start` is what the request's policy was shown, or would have been.

        Its time is the step's: every request of a batch waits for all of it. What was requested, `plan.gamma`, may be
        more than what was drafted, where the draft found less: that is no rejection.
        """
        request, position = self.active.request, self.position
        emitted = request.num_output_tokens - position
        if emitted <= 0:
            return None
        tokens = tuple(request.output_token_ids[position : position + emitted])
        ended = end_of(request) if request.is_finished() else None
        return finish_round(
            start, self.plan, self.drafted, self.accepted, tokens, ended, 0.0, seconds, seconds
        )


def request_steps(step: Step, indices: list[int], result: Any) -> list[RequestStep]:
    """Return the parts of some requests of a step, but for those that were aborted or preempted meanwhile."""
    verifying, invalid = step.output.scheduled_spec_decode_tokens, step.output.num_invalid_spec_tokens
    sampled, rows = result.sampled_token_ids, result.req_id_to_index
    parts = []
    for index in indices:
        active = step.requests[index]
        request = active.request
        name = request.request_id
        row = rows.get(name)
        if row is None or not sampled or request.is_finished() or request.num_stale_output_tokens:
            continue
        drafted = len(verifying.get(name, ()))
        if invalid:
            drafted -= invalid.get(name, 0)
        accepted = min(max(len(sampled[row]) - 1, 0), drafted)
        number, position = active.rounds + step.uncounted, request.num_output_tokens
        parts.append(
            RequestStep(active, step.plan(index), number, position, request.num_tokens, drafted, accepted)
        )
    return parts


def end_of(request: Any) -> Ended | None:
    """Return why a request ended, if it did by itself: a stop without a reason is an end-of-sequence token."""
    status: str = request.status.name
    if status == "FINISHED_STOPPED" and request.stop_reason is None:
        return "eos"
    return ENDED.get(status)
