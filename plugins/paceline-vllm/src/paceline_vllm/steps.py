"""The records of a step: which requests took part, under which plan, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paceline import Ended, Plan, Round

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
        plan: What was planned for its next round, in the last step it took part in; None before its first.
        rounds: How many it has taken, the first token counted as one.
        recorder: Where its rounds are traced, if they are.
    """

    plan: Plan | None = None
    rounds: int = 0
    recorder: Any = None


@dataclass(slots=True)
class Turn:
    """One request's part in one step, as scheduled; then, as it came out.

    Attributes:
        request: vLLM's request.
        served: What is known of it here.
        plan: What was in force: the plan of the step that drafted what this one verifies.
        position, context: Tokens emitted, and of prompt and output together, before the round.
        accepted, drafted: Counts of the round.
    """

    request: Any
    served: Served
    plan: Plan
    position: int = 0
    context: int = 0
    accepted: int = 0
    drafted: int = 0


@dataclass(slots=True)
class Step:
    """One step of the engine that is under way.

    Attributes:
        output: vLLM's output of the scheduler, by which the step is found again.
        turns: Requests that will emit tokens.
        gamma: What is drafted at its end, for the next one.
        verified: Tokens that go through the target.
        decodes: Whether nothing but decoding is done in it.
        began: When it was scheduled.
    """

    output: Any
    turns: list[Turn]
    gamma: int
    verified: int
    decodes: bool
    began: float


def finished(turn: Turn, seconds: float) -> Round | None:
    """Return the round of a turn that is over, or None when it delivered nothing.

    Its time is the step's: every request of a batch waits for all of it. What was requested, `plan.gamma`, may be more
    than what was drafted, where the draft found less: that is no rejection.
    """
    request, plan = turn.request, turn.plan
    emitted = request.num_output_tokens - turn.position
    if emitted <= 0:
        return None
    return Round(
        turn.served.rounds,
        turn.position,
        turn.context,
        plan,
        0,
        turn.drafted,
        min(turn.accepted, turn.drafted),
        emitted,
        end_of(request),
        0.0,
        seconds,
        seconds,
        tuple(request.output_token_ids[turn.position : turn.position + emitted]),
    )


def end_of(request: Any) -> Ended | None:
    """Return why a request ended, as far as it did: a stop without a reason given is an end-of-sequence token."""
    status: str = request.status.name
    if status == "FINISHED_STOPPED" and request.stop_reason is None:
        return "eos"
    return ENDED.get(status)
