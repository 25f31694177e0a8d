"""The round: plan, draft, verify, observe.

The loop knows no model, no policy and no tensor. It orders the calls, ends the text where the target alone would have
ended it, and keeps every session at prompt + emitted tokens. What policy, drafts and target answer is checked by their
guards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self, overload

from paceline.core.clock import VerifyWork
from paceline.core.errors import short_repr
from paceline.core.guards.draft import Drafts
from paceline.core.guards.policy import PolicyGuard
from paceline.core.guards.target import TargetGuard
from paceline.core.log import log
from paceline.core.proposals import ready_at
from paceline.core.records import Capabilities, Ended, RoundStart, finish_round
from paceline.core.stopping import StopConditions

if TYPE_CHECKING:
    from collections.abc import Callable

    from paceline.core.generation import Failure
    from paceline.core.protocols import Clock, Costs
    from paceline.core.records import Round


@dataclass(slots=True)
class Request:
    """One request under way: its sessions, its output so far, and how to take one more round.

    Entered, it is closed however it is left. `costs` are what the policy is shown; `learn` takes each round before it.
    """

    prompt: Sequence[int]
    capabilities: Capabilities
    target: TargetGuard
    drafts: Drafts
    policy: PolicyGuard
    costs: Costs
    learn: Callable[[Round], object]
    clock: Clock
    limits: StopConditions
    fallback: bool
    output: list[int]
    perplexity: float | None = None
    index: int = 0
    ended: Ended | None = None
    tokens: TokenView = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = TokenView(self.prompt, self.output)

    def round(self) -> Round:
        """Take one round."""
        start = self._start()
        began = self.clock.now()
        plan = self.policy.plan(start)
        planned = self.clock.now()
        control = self.policy.control(plan) if plan.gamma else None
        proposal = self.drafts.draft(plan, start.drafts, control)
        self.policy.settle()
        drafted = self.clock.now()
        verdict = self.target.verify(proposal)
        self.clock.spend(VerifyWork(proposal.count + 1 if proposal is not None else 1, start.context))
        verified = self.clock.now()
        if proposal is not None and proposal.is_async:
            self.drafts.read(plan, proposal, verdict.accepted)
            self.target.check_length(verdict, proposal.count)
            drafted = ready_at(proposal.proposal, planned, drafted, verified)
        emitted, self.ended = self.limits.cut(self.output, verdict.tokens)
        scores, score_s = self.drafts.score(plan, emitted)
        self.target.advance(emitted)
        self.drafts.advance(emitted)
        done = finish_round(
            start,
            plan,
            drafted=proposal.count if proposal is not None else 0,
            accepted=verdict.accepted,
            tokens=tuple(emitted),
            ended=self.ended,
            draft_s=drafted - planned,
            verify_s=verified - drafted,
            total_s=self.clock.now() - began,
            signals=proposal.signals if proposal is not None else (),
            scores=scores,
            score_s=score_s,
        )
        self.index += 1
        self.learn(done)
        self.policy.observe(done)
        return done

    def failures(self) -> list[Failure]:
        """Return what has failed so far and was gone on without."""
        failed = self.policy.failure
        return self.drafts.failures if failed is None else [*self.drafts.failures, failed]

    def _start(self) -> RoundStart:
        position, drafts = len(self.output), self.drafts.states(self.index)
        return RoundStart(
            index=self.index,
            position=position,
            context=len(self.prompt) + position,
            # Without a draft nothing can be drafted, so a policy for drafts works unchanged: its budget is 0.
            budget=self.limits.max_new_tokens - position - 1 if drafts else 0,
            drafts=drafts,
            costs=self.costs,
            capabilities=self.capabilities,
            tokens=self.tokens,
            perplexity=self.perplexity,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trail: TracebackType | None
    ) -> None:
        """Close every session; what goes wrong then never hides another error, and under `fallback` is only logged."""
        problems = [*self.target.close(), *self.drafts.close()]
        if problems and kind is None and not self.fallback:
            raise problems[0]
        for problem in problems:
            log.warning("close_failed", error=short_repr(problem))


class TokenView(Sequence[int]):
    """Prompt and output, one after the other, as far as they have come."""

    __slots__ = ("_output", "_prompt")

    def __init__(self, prompt: Sequence[int], output: Sequence[int]) -> None:
        self._prompt = prompt
        self._output = output

    def __len__(self) -> int:
        return len(self._prompt) + len(self._output)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[int, ...]: ...
    def __getitem__(self, index: int | slice) -> int | tuple[int, ...]:
        edge = len(self._prompt)
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1 and start >= edge:
                return tuple(self._output[start - edge : max(stop, start) - edge])
            return tuple(self[place] for place in range(start, stop, step))
        place = index + len(self) if index < 0 else index
        if place < 0:
            raise IndexError(index)
        return self._prompt[place] if place < edge else self._output[place - edge]
