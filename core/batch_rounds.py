"""Rounds of several requests that share their passes: plan all, draft for all, verify all, finish each.

The rules of a round are those of `paceline.core.loop`; here, what several requests wait for is asked for together.
Whatever one of them fails in ends that one alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar, cast

from paceline.core.clock import DraftPassWork, PassWork
from paceline.core.errors import INTERRUPTS, ContractError, describe, short_repr
from paceline.core.guards.policy import UNPLANNED
from paceline.core.log import log
from paceline.core.optional_protocols import BatchDraft, BatchPolicy, BatchTarget
from paceline.core.records import Plan

if TYPE_CHECKING:
    from paceline.core.costs import LiveCosts
    from paceline.core.loop import Request, Turn
    from paceline.core.protocols import Clock, Draft, Policy, Target
    from paceline.core.records import Round, RoundStart

T = TypeVar("T")


def attempt(work: Callable[[], T]) -> T | BaseException:
    """Return what some work comes to, or what it raised; only what interrupts the process passes through."""
    try:
        return work()
    except INTERRUPTS:
        raise
    except BaseException as error:  # noqa: BLE001 - it is the end of one request, and of no other
        return error


@dataclass(slots=True, eq=False)
class Row:
    """One request in a round.

    Attributes:
        start: What was known of it before the round.
        turn: Its round, once it was planned.
        outcome: The round it finished, or what ended it.
    """

    request: Request
    start: RoundStart | None = None
    turn: Turn | None = None
    outcome: Round | BaseException | None = None

    def begin(self, batch: int) -> None:
        """Look at what is known before the round."""
        self.start = self.request.start(batch)

    def plan(self, answer: object) -> None:
        """Plan the round."""
        assert self.start is not None
        self.turn = self.request.plan(self.start, answer)

    @property
    def planned(self) -> Turn:
        """The round under way."""
        assert self.turn is not None
        return self.turn


class BatchRounds:
    """The rounds of requests that share a target, its drafts and their passes.

    Args:
        target: The target of all of them.
        drafts: Their drafts, by name.
        costs: The cost model, of requests that have their passes to themselves and of those that share them.
        clock: Where seconds come from.
        reported: Whether it is known already where no passes are shared; else one line is logged that says why.
    """

    def __init__(
        self,
        target: Target,
        drafts: Mapping[str, Draft],
        costs: LiveCosts,
        clock: Clock,
        *,
        reported: bool = False,
    ) -> None:
        self._target = target if isinstance(target, BatchTarget) and target.shares_passes else None
        self._drafts = {
            name: draft
            for name, draft in drafts.items()
            if isinstance(draft, BatchDraft) and draft.shares_passes
        }
        self._costs = costs
        self._clock = clock
        if self._target is None and not reported:
            log.warning(
                "passes_not_shared",
                target=describe(target),
                reason=getattr(target, "unshared", None) or "it reads one text at a time",
                action="requests are decoded one after the other",
            )

    def take(self, requests: Sequence[Request]) -> list[Round | BaseException]:
        """Take one round of each request; return it, or what ended the request in its place."""
        if self._target is None or len(requests) == 1:
            for request in requests:
                request.costs, request.learn = self._costs, self._costs.observe
            return [attempt(request.round) for request in requests]
        context = sum(len(request.tokens) for request in requests)
        share = self._costs.batch.share(len(requests), context)
        rows = [Row(request) for request in requests]
        began = self._clock.now()
        for row in rows:
            row.request.costs, row.request.learn = share, _learn_nothing
        _each(rows, lambda row: row.begin(len(rows)))
        self._plan(rows)
        planning_s = (self._clock.now() - began) / len(rows)
        self._draft(rows)
        self._verify(rows, self._target, context)
        for row in rows:
            if row.outcome is None:
                turn = row.planned
                turn.began = self._clock.now() - planning_s - turn.draft_s - turn.verify_s
                row.outcome = attempt(lambda row=row: row.request.finish(row.planned))  # type: ignore[misc]
        return [cast("Round | BaseException", row.outcome) for row in rows]

    def _plan(self, rows: Sequence[Row]) -> None:
        """Plan each request, all at once where they have one policy."""
        open_rows = [row for row in rows if row.outcome is None]
        sound = [row for row in open_rows if row.request.policy.failure is None]
        plans: dict[int, object] = {}
        policies = {id(row.request.policy.policy): row.request.policy.policy for row in sound}
        if len(policies) == 1 and len(rows) > 1:
            (policy,) = policies.values()
            starts = [cast("RoundStart", row.start) for row in sound]
            answers = attempt(lambda: _plan_together(policy, starts))
            if isinstance(answers, BaseException):
                answers = [answers] * len(sound)
            plans = {id(row): plan for row, plan in zip(sound, answers, strict=True)}
        _each(open_rows, lambda row: row.plan(plans.get(id(row), UNPLANNED)))

    def _draft(self, rows: Sequence[Row]) -> None:
        """Draft for each request, for all those at once that a draft can draft for together."""
        groups: dict[str | None, list[Row]] = defaultdict(list)
        for row in rows:
            if row.outcome is None:
                plan = row.planned.plan
                groups[
                    plan.draft if plan.gamma and plan.draft in row.request.drafts.sessions else None
                ].append(row)
        for name, group in groups.items():
            if name is None:
                _each(group, self._draft_nothing)
            else:
                self._draft_group(name, group, len(rows))

    def _draft_nothing(self, row: Row) -> None:
        """Note that nothing was drafted for a request, which takes no part of what others' drafts took."""
        began = self._clock.now()
        row.request.draft(row.planned)
        row.planned.draft_s = self._clock.now() - began

    def _draft_group(self, name: str, group: Sequence[Row], batch: int) -> None:
        draft, began = self._drafts.get(name) if len(group) > 1 else None, self._clock.now()
        answers: dict[int, object] = {}
        if draft is not None:
            turns = [row.planned for row in group]
            answers = _together(
                group,
                lambda: draft.draft_batch(
                    [row.request.drafts.sessions[name] for row in group],
                    [turn.plan.gamma for turn in turns],
                    [turn.control for turn in turns],
                ),
            )
        _each(group, lambda row: row.request.draft(row.planned, answers.get(id(row))))  # type: ignore[arg-type]
        counts = [row.planned.drafted for row in group]
        lag = sum(row.planned.start.drafts[name].lag for row in group)
        steps = max(counts) if name in self._drafts else 0
        self._clock.spend(DraftPassWork(name, batch, steps, sum(counts), lag))
        seconds = self._clock.now() - began
        self._costs.batch.observe_drafting(name, batch, steps, sum(counts), lag, seconds)
        for row, part_s in zip(group, _parts(seconds, [count or 1 for count in counts]), strict=True):
            row.planned.draft_s = part_s

    def _verify(self, rows: Sequence[Row], target: BatchTarget, context: int) -> None:
        """Verify what was drafted for each request, all at once."""
        open_rows = [row for row in rows if row.outcome is None]
        if not open_rows:
            return
        began = self._clock.now()
        answers = _together(
            open_rows,
            lambda: target.verify_batch(
                [row.request.target.session for row in open_rows],
                [
                    None if row.planned.proposal is None else row.planned.proposal.proposal
                    for row in open_rows
                ],
            ),
        )
        _each(open_rows, lambda row: row.request.verify(row.planned, answers.get(id(row))))  # type: ignore[arg-type]
        drafted = sum(row.planned.drafted for row in open_rows)
        self._clock.spend(PassWork(len(open_rows), drafted, context))
        seconds = self._clock.now() - began
        self._costs.batch.observe_verification(len(open_rows), drafted, context, seconds)
        share = self._costs.batch.share(len(open_rows), context)
        weights = [share.verify_s(1 + row.planned.drafted, 0) for row in open_rows]
        for row, part_s in zip(open_rows, _parts(seconds, weights), strict=True):
            row.planned.verify_s = part_s


def _learn_nothing(done: Round) -> None:
    """Learn nothing: what a pass took that was shared is learnt of the pass."""


def _each(rows: Sequence[Row], step: Callable[[Row], object]) -> None:
    """Take a step of every request that is still under way; one that fails in it is over."""
    for row in rows:
        if row.outcome is None and isinstance(error := attempt(lambda row=row: step(row)), BaseException):  # type: ignore[misc]
            row.outcome = error


def _together(rows: Sequence[Row], ask: Callable[[], Sequence[object]]) -> dict[int, object]:
    """Return the answer for each row; none where they could not be asked for together, and each is asked alone."""
    answers = attempt(ask)
    if isinstance(answers, BaseException) or len(answers) != len(rows):
        log.warning(
            "batch_failed",
            error=short_repr(answers),
            action="each request is asked for by itself",
        )
        return {}
    return {id(row): answer for row, answer in zip(rows, answers, strict=True)}


def _parts(seconds: float, weights: Sequence[float]) -> list[float]:
    """Return seconds divided by weight; all parts add up to them."""
    whole = sum(weights)
    return [seconds * weight / whole if whole > 0.0 else seconds / len(weights) for weight in weights]


def _plan_together(policy: Policy, starts: Sequence[RoundStart]) -> list[object]:
    """Return a plan for each of several requests that one policy serves.

    One that does not plan for several at once is asked for one plan, as engines ask that decide for a whole batch: it
    holds for each request as far as its budget goes, and what became of it is shown for each.
    """
    if isinstance(policy, BatchPolicy):
        plans = list(policy.plan_batch(starts))
        if len(plans) != len(starts):
            raise ContractError(
                f"policy {describe(policy)}",
                f"plan_batch() of {len(starts)} requests gave {len(plans)} plans",
            )
        return [*plans]
    shown = max(starts, key=lambda start: start.budget)
    plan: object = policy.plan(shown)
    if not isinstance(plan, Plan) or not isinstance(plan.gamma, int):
        return [plan] * len(starts)
    return [plan if start is shown else replace(start.fit(plan), use_signals=False) for start in starts]
