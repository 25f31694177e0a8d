"""Between vLLM's steps and paceline's rounds: one plan a step for all requests, one round a request and step.

Knows no vLLM: what it is handed are plain numbers, and requests of which it reads a few attributes.
"""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager
from threading import Lock
from typing import TYPE_CHECKING, Any

import structlog

from paceline import (
    Capabilities,
    ContractError,
    DraftState,
    FusedCosts,
    Plan,
    PolicyGuard,
    RoundStart,
    WallClock,
)
from paceline_vllm.steps import PREFILL, ActiveRequest, RequestStep, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline import Clock, DraftSession, Policy, Round, Signal

log = structlog.get_logger()


class NamedDraft:
    """Stands for vLLM's draft, of which a policy sees the name only."""

    signals: frozenset[Signal] = frozenset()

    def open(self, prompt: Sequence[int]) -> DraftSession:
        """Refuse: vLLM drafts by itself."""
        raise NotImplementedError(
            f"vLLM drafts by itself; no session for {len(prompt)} tokens is opened here"
        )


def capabilities(max_gamma: int, delay: int) -> Capabilities:
    """Return what vLLM can do with a draft of at most `max_gamma` tokens."""
    return Capabilities(
        gammas=tuple(range(max_gamma + 1)),
        zero_gamma=True,
        draft_switch="none",
        latency="fused",
        action_delay=delay,
        signals=frozenset(),
        sampling=True,
    )


class Adapter:
    """Asks a policy once a step, and shows it what came of the steps.

    Args:
        policy: The policy; touched under `lock` only.
        engine: What vLLM can do here.
        draft: What the policy knows vLLM's draft by.
        lock: Held around each call of the policy; whoever shares what it learns holds it as well.
        clock: Where seconds come from.
        fallback_gamma: Gamma once the policy has failed.
        rounds_per_step: The most rounds of one step that the policy is shown, in turn; None shows all.
        traced: Whether requests have recorders, so that every round is wanted.
    """

    def __init__(
        self,
        policy: Policy,
        engine: Capabilities,
        *,
        draft: str = "vllm",
        lock: AbstractContextManager[object] | None = None,
        clock: Clock | None = None,
        fallback_gamma: int = 0,
        rounds_per_step: int | None = 4,
        traced: bool = False,
    ) -> None:
        self.policy = policy
        self.lock = lock if lock is not None else Lock()
        self.clock = clock if clock is not None else WallClock()
        self.costs = FusedCosts()
        self.traced = traced
        self.gammas: Counter[int] = Counter()
        self.failed = False
        self._guard = PolicyGuard(policy, {draft: NamedDraft()}, fallback=False)
        self._engine = engine
        self._drafts = {draft: DraftState(0)}
        self._max_gamma = engine.gammas[-1] if engine.gammas else 0
        self._fallback = Plan(
            min(fallback_gamma, self._max_gamma), draft if fallback_gamma else None, reason="fallback"
        )
        self._limit = rounds_per_step
        self._next_shown = 0  # where the rounds that are shown begin, so that all requests have their turn
        self._last_end = 0.0  # when the last step was over

    def plan(self, step: Step) -> Plan:
        """Decide what is drafted at the end of this step, for all of its requests.

        The policy sees the request that is furthest in, and the budget of one that has room for the largest gamma, if
        one has; with one request all of it is its own.
        """
        if self.failed:
            return self._fallback
        oldest = step.requests[0]
        request = oldest.request
        position = request.num_output_tokens
        budget = request.max_tokens - position - 1
        if budget < self._max_gamma:
            budget = max(
                active.request.max_tokens - active.request.num_output_tokens - 1 for active in step.requests
            )
        start = self._start(step, oldest.rounds + step.uncounted, position, request.num_tokens, budget)
        try:
            with self.lock:
                plan = self._guard.plan(start)
        except ContractError as error:
            self._fail(error)
            return self._fallback
        self.gammas[plan.gamma] += 1
        return plan

    def observed(self, step: Step) -> list[int]:
        """Return the indices of the requests whose rounds are needed: all for a trace, else those that are shown.

        Rounds of a request's first token are not shown to the policy: they hold the prompt's time.
        """
        if self.traced:
            return list(range(len(step.requests)))
        return self._shown(step)

    def observe(self, step: Step, parts: Sequence[RequestStep]) -> None:
        """Learn from a step that is over, and write down its rounds where they are traced."""
        now = self.clock.now()
        seconds = now - max(step.began, self._last_end)  # steps overlap where vLLM schedules ahead
        self._last_end = now
        if step.only_decodes:
            self.costs.observe(
                seconds, requests=len(step.requests), verified=step.verified, drafted=step.gamma
            )
        rounds = [
            (part.active, done)
            for part in parts
            if (done := part.round(self._start_of(step, part), seconds)) is not None
        ]
        if self.traced:
            for active, done in rounds:
                trace(active, done)
            shown = {id(step.requests[index]) for index in self._shown(step)}
            rounds = [(active, done) for active, done in rounds if id(active) in shown]
        if not self.failed:
            self._show([done for _, done in rounds])

    def _start(self, step: Step, index: int, position: int, context: int, budget: int) -> RoundStart:
        requests = len(step.requests)
        return RoundStart(
            index,
            position,
            context,
            budget,
            self._drafts,
            self.costs.of(requests),
            self._engine,
            batch=requests,
        )

    def _start_of(self, step: Step, part: RequestStep) -> RoundStart:
        """Return what the policy would have been shown before a round, had it been asked for this request alone."""
        budget = part.active.request.max_tokens - part.position - 1
        return self._start(step, part.number, part.position, part.context, budget)

    def _shown(self, step: Step) -> list[int]:
        limit, plans = self._limit, step.plans
        decoding: Sequence[int] = range(len(step.requests))
        if not isinstance(plans, Plan):
            decoding = [index for index in decoding if plans[index] is not PREFILL]
        count = len(decoding)
        if limit is None or count <= limit:
            return list(decoding)
        first = self._next_shown % count
        self._next_shown = first + limit
        return [decoding[(first + n) % count] for n in range(limit)]

    def _show(self, rounds: Sequence[Round]) -> None:
        try:
            with self.lock:
                for done in rounds:
                    self._guard.observe(done)
        except ContractError as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Go on without the policy; said once, since it is never asked again."""
        self.failed = True
        log.error("policy_failed", error=str(error), action=f"gamma {self._fallback.gamma} from now on")

    def give_up(self, error: Exception) -> None:
        """Go on without the policy after a fault of this package's own."""
        if not self.failed:
            self._fail(error)
            log.error("paceline_fault", exc_info=error)

    def gamma_counts(self) -> dict[str, float]:
        """Return how often each gamma was chosen so far, as "gamma/3"; may be called by another thread."""
        # The copy is one operation of the interpreter, so that a step under way cannot change what is gone through.
        return {f"gamma/{gamma}": float(count) for gamma, count in sorted(dict(self.gammas).items())}

    def counters(self) -> dict[str, Any]:
        """Return what was decided so far, for the metrics."""
        return {
            "gammas": {str(gamma): count for gamma, count in sorted(self.gammas.items())},
            "failed": self.failed,
        }


def trace(active: ActiveRequest, done: Round) -> None:
    """Write a round to the trace of its request, and the end of the request if it is one."""
    if active.recorder is None:
        return
    active.recorder.round(done)
    if done.ended is not None:
        active.recorder.end(done.ended)
        active.recorder = None
