"""The round: plan, draft, verify, observe; of one request, or of one among several that share their passes.

The loop knows no model, no policy and no tensor. It orders the calls, ends the text where the target alone would have
ended it, and keeps every session at prompt + emitted tokens. What policy, drafts and target answer is checked by their
guards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Self, overload

from paceline.core.clock import VerifyWork
from paceline.core.errors import short_repr
from paceline.core.guards.draft import Drafts
from paceline.core.guards.policy import UNPLANNED, PolicyGuard
from paceline.core.guards.target import TargetGuard
from paceline.core.log import log
from paceline.core.proposals import ready_at
from paceline.core.records import Capabilities, Ended, RoundStart, finish_round
from paceline.core.stopping import StopConditions
from paceline.core.trees import PathVerdict, outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from paceline.core.generation import Failure
    from paceline.core.guards.draft import Drafted
    from paceline.core.proposals import DraftControl, TokenVerdict
    from paceline.core.protocols import Clock, Costs, Proposal, Verdict
    from paceline.core.records import Plan, Round, TreeOutcome


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
    _shared: Capabilities = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.tokens = TokenView(self.prompt, self.output)
        able = self.capabilities
        self._shared = replace(able, nodes=0) if able.nodes else able  # in rounds of several requests

    def round(self) -> Round:
        """Take one round."""
        turn = self.plan(self.start())
        self.draft(turn)
        self.verify(turn)
        return self.finish(turn)

    def start(self, batch: int = 1) -> RoundStart:
        """Return what is known before a round, of which `batch` requests take part."""
        position, drafts = len(self.output), self.drafts.states(self.index)
        # Records of rounds are made by the million, and arguments by place take less time than by name.
        return RoundStart(
            self.index,
            position,
            len(self.prompt) + position,
            # Without a draft nothing can be drafted, so a policy for drafts works unchanged: its budget is 0.
            self.limits.max_new_tokens - position - 1 if drafts else 0,
            drafts,
            self.costs,
            self.capabilities if batch == 1 else self._shared,
            self.tokens,
            batch,
            self.perplexity,
        )

    def plan(self, start: RoundStart, answer: object = UNPLANNED) -> Turn:
        """Plan a round; `answer` is what the policy said of it or raised, where it was asked for several together."""
        began = self.clock.now()
        plan = self.policy.plan(start, answer)
        planned = self.clock.now()
        return Turn(start, plan, self.policy.control(plan) if plan.gamma else None, began, planned)

    def draft(self, turn: Turn, answer: Proposal | BaseException | None = None) -> None:
        """Draft as planned; `answer` is what the draft proposed or raised, where it was asked for several together."""
        turn.proposal = self.drafts.draft(turn.plan, turn.start.drafts, turn.control, answer)
        self.policy.settle()
        turn.drafted_at = self.clock.now()
        turn.draft_s = turn.drafted_at - turn.planned

    def verify(self, turn: Turn, answer: Verdict | BaseException | None = None) -> None:
        """Verify what was drafted; `answer` is what the target said or raised, where it was asked for several."""
        proposal, began = turn.proposal, turn.drafted_at
        verdict = turn.verdict = self.target.verify(proposal, answer)
        # The nodes of a tree, and of a chain its tokens.
        length = 0 if proposal is None else len(proposal.parents) if proposal.is_tree else proposal.count
        self.clock.spend(VerifyWork(length + 1, turn.start.context))
        verified = self.clock.now()
        if proposal is not None and proposal.is_async:
            self.drafts.read(turn.plan, proposal, verdict.accepted)
            self.target.check_verdict(verdict, proposal)
            began = ready_at(proposal.proposal, turn.planned, began, verified)
            turn.draft_s = began - turn.planned
        turn.verify_s = verified - began

    def finish(self, turn: Turn) -> Round:
        """End a round that was verified: deliver its tokens, tell every session, and let costs and policy learn."""
        start, proposal, verdict = turn.start, turn.proposal, turn.verdict
        assert verdict is not None
        emitted, self.ended = self.limits.cut(self.output, verdict.tokens)
        scores, score_s = self.drafts.score(turn.plan, emitted)
        self.target.advance(emitted)
        self.drafts.advance(emitted)
        done = finish_round(
            start,
            turn.plan,
            turn.drafted,
            verdict.accepted,
            tuple(emitted),
            self.ended,
            turn.draft_s,
            turn.verify_s,
            self.clock.now() - turn.began,
            () if proposal is None else proposal.signals,
            scores,
            score_s,
            None if proposal is None or not proposal.is_tree else _outcome(proposal, verdict),
        )
        self.index += 1
        self.learn(done)
        self.policy.observe(done)
        return done

    def failures(self) -> list[Failure]:
        """Return what has failed so far and was gone on without."""
        failed = self.policy.failure
        return self.drafts.failures if failed is None else [*self.drafts.failures, failed]

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


def _outcome(proposal: Drafted, verdict: TokenVerdict) -> TreeOutcome:
    assert isinstance(verdict, PathVerdict)  # as the target's guard sees to
    return outcome(proposal.parents, verdict.path)


@dataclass(slots=True)
class Turn:
    """One round of one request under way.

    Attributes:
        start: The state of the request before it.
        plan: The policy's decision.
        control: What the draft must look at.
        began: When it began; where several requests share their passes, so that what is theirs does not count.
        planned, drafted_at: When it was planned, and when it was drafted.
        proposal: What was drafted; None is nothing.
        verdict: The target's answer, once there is one.
        draft_s, verify_s: Seconds, once it was drafted and verified; of passes that are shared, the share of this one.
    """

    start: RoundStart
    plan: Plan
    control: DraftControl | None
    began: float
    planned: float
    proposal: Drafted | None = None
    verdict: TokenVerdict | None = None
    drafted_at: float = 0.0
    draft_s: float = 0.0
    verify_s: float = 0.0

    @property
    def drafted(self) -> int:
        """Draft tokens proposed, as far as they were read: of a tree its depth."""
        return 0 if self.proposal is None else self.proposal.count


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
