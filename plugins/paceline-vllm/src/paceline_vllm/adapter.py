"""Between vLLM's steps and paceline's rounds: one plan a step for all requests, one round a request and step.

Knows no vLLM: what it is handed are plain numbers, and requests of which it reads a few attributes.
"""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager
from threading import Lock
from typing import TYPE_CHECKING, Any

import structlog

from paceline import Capabilities, ContractError, FusedCosts, Plan, PolicyGuard, RoundStart, WallClock
from paceline_vllm.steps import PREFILL, Served, Step, Turn, finished

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


def capabilities(most: int, delay: int) -> Capabilities:
    """Return what vLLM can do with a draft of at most `most` tokens."""
    return Capabilities(
        gammas=tuple(range(most + 1)),
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
        self._lags = {draft: 0}
        self._most = engine.gammas[-1] if engine.gammas else 0
        self._fallback = Plan(
            min(fallback_gamma, self._most), draft if fallback_gamma else None, reason="fallback"
        )
        self._limit = rounds_per_step
        self._first = 0  # where the rounds that are shown begin, so that all requests have their turn
        self._ended = 0.0  # when the last step was over

    def plan(self, step: Step) -> Plan:
        """Decide what is drafted at the end of this step, for all of its requests.

        The policy sees the request that is furthest in, and the budget of one that has room for the largest gamma, if
        one has; with one request all of it is its own.
        """
        if self.failed:
            return self._fallback
        turns = step.turns
        oldest = turns[0]
        request = oldest.request
        position = request.num_output_tokens
        budget = request.max_tokens - position - 1
        if budget < self._most:
            budget = max(one.request.max_tokens - one.request.num_output_tokens - 1 for one in turns)
        start = self._start(step, oldest.rounds + step.streak, position, request.num_tokens, budget)
        try:
            with self.lock:
                plan = self._guard.plan(start)
        except ContractError as error:
            self._fail(error)
            return self._fallback
        self.gammas[plan.gamma] += 1
        return plan

    def places(self, step: Step) -> list[int]:
        """Return which turns of a step are wanted: those that are traced, or those that the policy is shown.

        Rounds of a request's first token are not shown to the policy: they hold the prompt's time.
        """
        count = len(step.turns)
        if self.traced:
            return list(range(count))
        return self._shown(step)

    def observe(self, step: Step, turns: Sequence[Turn]) -> None:
        """Learn from a step that is over, and write down its rounds where they are traced."""
        now = self.clock.now()
        seconds = now - max(step.began, self._ended)  # steps overlap where vLLM schedules ahead
        self._ended = now
        if step.decodes:
            self.costs.observe(seconds, requests=len(step.turns), verified=step.verified, drafted=step.gamma)
        rounds = [
            (turn, done)
            for turn in turns
            if (done := finished(turn, self._start_of(step, turn), seconds)) is not None
        ]
        if self.traced:
            for turn, done in rounds:
                write(turn.served, done)
            shown = {id(step.turns[place]) for place in self._shown(step)}
            rounds = [(turn, done) for turn, done in rounds if id(turn.served) in shown]
        if not self.failed:
            self._show([done for _, done in rounds])

    def _start(self, step: Step, index: int, position: int, context: int, budget: int) -> RoundStart:
        requests = len(step.turns)
        return RoundStart(
            index,
            position,
            context,
            budget,
            self._lags,
            self.costs.of(requests),
            self._engine,
            batch=requests,
        )

    def _start_of(self, step: Step, turn: Turn) -> RoundStart:
        """Return what the policy would have been shown before a turn, had it been asked for this request alone."""
        budget = turn.served.request.max_tokens - turn.position - 1
        return self._start(step, turn.number, turn.position, turn.context, budget)

    def _shown(self, step: Step) -> list[int]:
        limit, plans = self._limit, step.plans
        decoding: Sequence[int] = range(len(step.turns))
        if not isinstance(plans, Plan):
            decoding = [place for place in decoding if plans[place] is not PREFILL]
        count = len(decoding)
        if limit is None or count <= limit:
            return list(decoding)
        first = self._first % count
        self._first = first + limit
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

    def chosen(self) -> dict[str, float]:
        """Return how often each gamma was chosen so far, as "gamma/3"; may be called by another thread."""
        # The copy is one operation of the interpreter, so that a step under way cannot change what is gone through.
        return {f"gamma/{gamma}": float(count) for gamma, count in sorted(dict(self.gammas).items())}

    def counters(self) -> dict[str, Any]:
        """Return what was decided so far, for the metrics."""
        return {
            "gammas": {str(gamma): count for gamma, count in sorted(self.gammas.items())},
            "failed": self.failed,
        }


def write(served: Served, done: Round) -> None:
    """Write a round to the trace of its request, and the end of the request if it is one."""
    if served.recorder is None:
        return
    served.recorder.round(done)
    if done.ended is not None:
        served.recorder.end(done.ended)
        served.recorder = None
