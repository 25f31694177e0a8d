"""The records of a step: which requests took part, under which plan, and what came of it."""

from __future__ import annotations

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
class Served:
    """One request under way.

    Attributes:
        request: vLLM's request.
        plan: What was planned for its next round, in the last step it took part in.
        rounds: How many it has taken, the first token counted as one; see `Roster` for when it is kept.
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
        turns: Requests that will emit tokens.
        plans: What is in force for each of them, or for all: the plan of the step that drafted what this one verifies.
        streak: What the rounds of each request lack to its index in this step.
        verified: Tokens that go through the target.
        decodes: Whether nothing but decoding is done in it.
        began: When it was scheduled.
        gamma: What is drafted at its end, for the next one.
    """

    output: Any
    turns: list[Served]
    plans: Plan | list[Plan]
    streak: int
    verified: int
    decodes: bool
    began: float
    gamma: int = 0

    def plan(self, place: int) -> Plan:
        """Return what is in force for the request at this place among `turns`."""
        return self.plans if isinstance(self.plans, Plan) else self.plans[place]


class Turn(NamedTuple):
    """One request's part in a step whose outcome is known and not yet added to the request.

    Attributes:
        served: The request.
        plan, number, position, context, drafted, accepted: Of its round, whose `index` is `number`.
    """

    served: Served
    plan: Plan
    number: int
    position: int
    context: int
    drafted: int
    accepted: int


def take(step: Step, places: list[int], result: Any) -> list[Turn]:
    """Return the turns at some places of a step, but for those whose request was aborted or preempted meanwhile."""
    verifying, invalid = step.output.scheduled_spec_decode_tokens, step.output.num_invalid_spec_tokens
    sampled, rows = result.sampled_token_ids, result.req_id_to_index
    turns = []
    for place in places:
        served = step.turns[place]
        request = served.request
        name = request.request_id
        row = rows.get(name)
        if row is None or not sampled or request.is_finished() or request.num_stale_output_tokens:
            continue
        drafted = len(verifying.get(name, ()))
        if invalid:
            drafted -= invalid.get(name, 0)
        emitted, number = request.num_output_tokens, served.rounds + step.streak
        accepted = min(max(len(sampled[row]) - 1, 0), drafted)
        turns.append(Turn(served, step.plan(place), number, emitted, request.num_tokens, drafted, accepted))
    return turns


def finished(turn: Turn, start: RoundStart, seconds: float) -> Round | None:
    """Return the round of a turn that is over, or None when it delivered nothing.

    `start` is what the request's policy was shown, or would have been.

    Its time is the step's: every request of a batch waits for all of it. What was requested, `plan.gamma`, may be more
    than what was drafted, where the draft found less: that is no rejection.
    """
    request, position = turn.served.request, turn.position
    emitted = request.num_output_tokens - position
    if emitted <= 0:
        return None
    tokens = tuple(request.output_token_ids[position : position + emitted])
    ended = end_of(request) if request.is_finished() else None
    return finish_round(start, turn.plan, turn.drafted, turn.accepted, tokens, ended, 0.0, seconds, seconds)


def end_of(request: Any) -> Ended | None:
    """Return why a request ended, if it did by itself: a stop without a reason is an end-of-sequence token."""
    status: str = request.status.name
    if status == "FINISHED_STOPPED" and request.stop_reason is None:
        return "eos"
    return ENDED.get(status)
