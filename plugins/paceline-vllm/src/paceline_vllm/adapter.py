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
from paceline_vllm.steps import PREFILL, Step, Turn, finished

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
        rounds_per_step: int | None = 8,
    ) -> None:
        self.policy = policy
        self.lock = lock if lock is not None else Lock()
        self.clock = clock if clock is not None else WallClock()
        self.costs = FusedCosts()
        self.gammas: Counter[int] = Counter()
        self.failed = False
        self._guard = PolicyGuard(policy, {draft: NamedDraft()}, fallback=False)
        self._engine = engine
        self._lags = {draft: 0}
        most = engine.gammas[-1] if engine.gammas else 0
        self._fallback = Plan(min(fallback_gamma, most), draft if fallback_gamma else None, reason="fallback")
        self._limit = rounds_per_step
        self._first = 0  # where the rounds that are shown begin, so that all requests have their turn
        self._ended = 0.0  # when the last step was over

    def plan(self, turns: Sequence[Turn]) -> Plan:
        """Decide what is drafted at the end of the step that has these turns, for all of its requests.

        The policy sees the request that is furthest in, and the mean context; with one request these are its own.
        """
        if self.failed:
            return self._fallback
        count = len(turns)
        index = position = context = budget = 0
        for turn in turns:
            request = turn.request
            done = request.num_output_tokens
            index = max(index, turn.served.rounds)
            position = max(position, done)
            context += request.num_tokens
            budget = max(budget, request.max_tokens - done - 1)
        start = RoundStart(
            index,
            position,
            context // count,
            budget,
            self._lags,
            self.costs.of(count),
            self._engine,
            batch=count,
        )
        try:
            with self.lock:
                plan = self._guard.plan(start)
        except ContractError as error:
            self._fail(error)
            return self._fallback
        self.gammas[plan.gamma] += 1
        return plan

    def observe(self, step: Step) -> list[tuple[Turn, Round]]:
        """Learn from a step that is over, and return its rounds as far as anybody wants to see them all.

        Rounds of a request's first token are not shown to the policy: they hold the prompt's time.
        """
        now = self.clock.now()
        seconds = now - max(step.began, self._ended)  # steps overlap where vLLM schedules ahead
        self._ended = now
        turns = step.turns
        if step.decodes:
            self.costs.observe(seconds, requests=len(turns), verified=step.verified, drafted=step.gamma)
        traced = [
            (turn, done) for turn in turns if turn.served.recorder and (done := finished(turn, seconds))
        ]
        if not self.failed:
            known = {id(turn): done for turn, done in traced}
            self._show([known.get(id(turn)) or finished(turn, seconds) for turn in self._shown(turns)])
        for turn in turns:
            turn.served.rounds += 1
        return traced

    def _shown(self, turns: Sequence[Turn]) -> list[Turn]:
        decoding = [turn for turn in turns if turn.plan is not PREFILL]
        if self._limit is None or len(decoding) <= self._limit:
            return decoding
        first = self._first % len(decoding)
        self._first = first + self._limit
        return (decoding + decoding)[first : first + self._limit]

    def _show(self, rounds: Sequence[Round | None]) -> None:
        try:
            with self.lock:
                for done in rounds:
                    if done is not None:
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

    def counters(self) -> dict[str, Any]:
        """Return what was decided so far, for the metrics."""
        return {
            "gammas": {str(gamma): count for gamma, count in sorted(self.gammas.items())},
            "failed": self.failed,
        }
