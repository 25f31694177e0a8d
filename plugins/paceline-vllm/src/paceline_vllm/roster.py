"""Who takes part in a step, under which plan, for the how-manieth time.

Most steps have the same requests as the one before. Then the plan that was made there is in force for all of them, and
nothing is looked up request by request: with many requests that would take longer than the policy does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from paceline_vllm.steps import PREFILL, Served, Step

if TYPE_CHECKING:
    from paceline import Plan


class Roster:
    """The requests under way.

    Args:
        record: Returns what records the rounds of a request, or None.
    """

    def __init__(self, record: Callable[[Any], Any]) -> None:
        self._record = record
        self._served: dict[str, Served] = {}
        self._last: list[Served] = []
        self._names: set[str] = set()  # of the last step, if nothing but turns was in it
        self._plan = PREFILL  # made in the last step
        self._streak = 0  # steps since the list of requests was made; not yet added to their rounds

    def __len__(self) -> int:
        return len(self._served)

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
            self._streak += 1
            return Step(output, self._last, self._plan, self._streak, total, True, began)
        self._settle(output.finished_req_ids)
        turns, plans, decodes = [], [], True
        for name, count in scheduled.items():
            request = requests[name]
            before = request.num_computed_tokens
            known = self._served.get(name)
            if before >= request.num_prompt_tokens and count == 1 + len(verifying.get(name, ())):
                if known is None:
                    known = self._served[name] = Served(request)
                plans.append(known.plan)
            else:
                decodes = False
                if before + count < request.num_tokens + request.num_output_placeholders:
                    continue  # a piece of a prompt, and not the last one
                if known is None:
                    known = self._served[name] = Served(request, recorder=self._record(request))
                plans.append(PREFILL)
            turns.append(known)
        self._last = turns
        self._names = set(scheduled) if len(turns) == len(scheduled) else set()
        return Step(output, turns, plans, 0, total, decodes, began) if turns else None

    def planned(self, plan: Plan) -> None:
        """Note what was planned for all requests of the last step; in force in the next step of each."""
        self._plan = plan

    def close(self) -> None:
        """End the record of every request that is still under way."""
        for known in self._served.values():
            if known.recorder is not None:
                known.recorder.end(None)
                known.recorder = None

    def _settle(self, finished: set[str]) -> None:
        """Give each request of the last step its plan and its rounds, and forget those that are over."""
        for known in self._last:
            known.plan = self._plan
            known.rounds += self._streak + 1
        self._last, self._streak = [], 0
        for name in finished:
            gone = self._served.pop(name, None)
            if gone is not None and gone.recorder is not None:
                gone.recorder.end(None)  # aborted, or it failed: else its last round had ended it
