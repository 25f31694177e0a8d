"""Rounds without a model: a policy plays against a record of which draft tokens the target would accept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from paceline.core.clock import ScoreWork
from paceline.core.records import Capabilities, Ended, Plan, Round, RoundStart, TokenSignals
from paceline.core.testing.costs import FixedCosts

if TYPE_CHECKING:
    from paceline.core.protocols import Costs, Policy

ENGINE = Capabilities()


def play(
    policy: Policy,
    bits: Sequence[bool] | Mapping[str, Sequence[bool]],
    *,
    costs: Costs | None = None,
    prompt: int = 8,
    engine: Capabilities | None = None,
    hints: Mapping[str, Sequence[int]] | None = None,
) -> list[Round]:
    """Let a policy decode one greedy text, and return its rounds.

    Bit i of a draft tells whether the draft, given the target's tokens before position i, proposes the target's
    token there; one plain sequence stands for a single draft called "draft". The text has as many tokens as the
    shortest sequence, and ends by its length. Times are those of `costs`, lags those of drafts with a cache. `hints`
    gives the hint of a draft at each position, where it gives any.
    """
    drafts = bits if isinstance(bits, Mapping) else {"draft": bits}
    wanted = min(len(sequence) for sequence in drafts.values())
    costs = costs or FixedCosts()
    lags = dict.fromkeys(drafts, prompt - 1)
    rounds: list[Round] = []
    position = 0
    while position < wanted:
        start = RoundStart(
            len(rounds),
            position,
            prompt + position,
            wanted - position - 1,
            dict(lags),
            costs,
            engine or ENGINE,
            hints={name: known[position] for name, known in (hints or {}).items()},
        )
        plan = named(policy.plan(start), start)
        agreed = drafts[plan.draft][position : position + plan.gamma] if plan.draft is not None else ()
        drafted = propose(policy, plan, [_signals(i, right=bit) for i, bit in enumerate(agreed)])
        accepted = next((i for i, bit in enumerate(agreed[:drafted]) if not bit), drafted)
        emitted = accepted + 1
        ended: Ended | None = "length" if position + emitted >= wanted else None
        scores = {
            name: tuple(float(bit) for bit in drafts[name][position : position + emitted])
            for name in sorted(plan.score - {plan.draft})
        }
        done = settle(start, plan, drafted=drafted, accepted=accepted, ended=ended, scores=scores)
        policy.observe(done)
        rounds.append(done)
        for name in lags:
            if name == plan.draft and drafted:
                lags[name] = int(accepted == drafted)
            else:
                lags[name] = 0 if name in scores else lags[name] + emitted
        position += emitted
    return rounds


def named(plan: Plan, start: RoundStart) -> Plan:
    """Return a plan with the draft's name filled in when it drafts, and without one when it does not."""
    draft = None if plan.gamma == 0 else plan.draft or next(iter(start.lags))
    return replace(plan, draft=draft)


def propose(policy: Policy, plan: Plan, signals: Sequence[TokenSignals]) -> int:
    """Return how many of the planned tokens are drafted before `keep` or the plan's own rule stops drafting."""
    for drafted, signal in enumerate(signals, start=1):
        stopped = plan.stop is not None and plan.stop.stops(signal)
        if stopped or (policy.needs and not policy.keep(signal)):
            return drafted
    return len(signals)


def settle(
    start: RoundStart,
    plan: Plan,
    *,
    drafted: int,
    accepted: int,
    ended: Ended | None = None,
    scores: Mapping[str, tuple[float, ...]] | None = None,
) -> Round:
    """Return the finished round of a plan, as long as the cost model said it would take."""
    lag = start.lags[plan.draft] if plan.draft is not None else 0
    draft_s = start.costs.draft_s(plan.draft, drafted, lag) if plan.draft is not None else 0.0
    verify_s = start.costs.verify_s(drafted + 1, start.context)
    work = ScoreWork(tuple(scores or ()), {name: start.lags[name] + accepted + 1 for name in scores or ()})
    score_s = work.price(start.costs)
    return Round(
        index=start.index,
        position=start.position,
        context=start.context,
        plan=plan,
        lag=lag,
        drafted=drafted,
        accepted=accepted,
        emitted=accepted + 1,
        ended=ended,
        draft_s=draft_s,
        verify_s=verify_s,
        total_s=draft_s + verify_s + score_s,
        tokens=(0,) * (accepted + 1),
        hint=start.hints.get(plan.draft) if plan.draft is not None else None,
        scores=scores or {},
        score_s=score_s,
    )


def _signals(position: int, *, right: bool) -> TokenSignals:
    """Return signals of a draft that knows when it is sure."""
    if right:
        return TokenSignals(position, top1=0.9, prob=0.9, entropy=0.3, margin=0.8, token=0)
    return TokenSignals(position, top1=0.3, prob=0.3, entropy=2.0, margin=0.05, token=1)
