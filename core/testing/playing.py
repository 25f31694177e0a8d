"""Rounds without a model: a policy plays against a record of which draft tokens the target would accept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

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
) -> list[Round]:
    """Let a policy decode one greedy text, and return its rounds.

    Bit i of a draft tells whether the draft, given the target's tokens before position i, proposes the target's
    token there; one plain sequence stands for a single draft called "draft". The text has as many tokens as the
    shortest sequence, and ends by its length. Times are those of `costs`, lags those of drafts with a cache.
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
        )
        plan = named(policy.plan(start), start)
        agreed = drafts[plan.draft][position : position + plan.gamma] if plan.draft is not None else ()
        drafted = propose(policy, plan, [_signals(i, right=bit) for i, bit in enumerate(agreed)])
        accepted = next((i for i, bit in enumerate(agreed[:drafted]) if not bit), drafted)
        emitted = accepted + 1
        ended: Ended | None = "length" if position + emitted >= wanted else None
        done = settle(start, plan, drafted=drafted, accepted=accepted, ended=ended)
        policy.observe(done)
        rounds.append(done)
        for name in lags:
            lags[name] = int(accepted == drafted) if name == plan.draft and drafted else lags[name] + emitted
        position += emitted
    return rounds


def named(plan: Plan, start: RoundStart) -> Plan:
    """Return a plan with the draft's name filled in when it drafts, and without one when it does not."""
    draft = None if plan.gamma == 0 else plan.draft or next(iter(start.lags))
    return Plan(plan.gamma, draft, plan.stop, plan.reason)


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
) -> Round:
    """Return the finished round of a plan, as long as the cost model said it would take."""
    lag = start.lags[plan.draft] if plan.draft is not None else 0
    draft_s = start.costs.draft_s(plan.draft, drafted, lag) if plan.draft is not None else 0.0
    verify_s = start.costs.verify_s(drafted + 1, start.context)
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
        total_s=draft_s + verify_s,
        tokens=(0,) * (accepted + 1),
    )


def _signals(position: int, *, right: bool) -> TokenSignals:
    """Return signals of a draft that knows when it is sure."""
    if right:
        return TokenSignals(position, top1=0.9, entropy=0.3, margin=0.8)
    return TokenSignals(position, top1=0.3, entropy=2.0, margin=0.05)
