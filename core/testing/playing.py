"""Rounds without a model: a policy plays against a record of which draft tokens the target would accept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from paceline.core.clock import ScoreWork
from paceline.core.guards.policy import keeps, needs_of
from paceline.core.loop import TokenView
from paceline.core.records import (
    Capabilities,
    DraftState,
    Ended,
    Plan,
    RoundStart,
    TokenSignals,
    finish_round,
    name_draft,
)
from paceline.core.testing.doubles import FixedCosts

if TYPE_CHECKING:
    from paceline.core.protocols import Costs, Policy
    from paceline.core.records import Round, Signal

ENGINE = Capabilities()
RIGHT = TokenSignals(0, top1=0.9, prob=0.9, entropy=0.3, margin=0.8, token=0)
WRONG = TokenSignals(0, top1=0.3, prob=0.3, entropy=2.0, margin=0.05, token=1)


def play(
    policy: Policy,
    bits: Sequence[bool] | Mapping[str, Sequence[bool]],
    *,
    costs: Costs | None = None,
    prompt: int = 8,
    engine: Capabilities | None = None,
    match_lengths: Mapping[str, Sequence[int]] | None = None,
    signals: Sequence[TokenSignals] | Mapping[str, Sequence[TokenSignals]] | None = None,
) -> list[Round]:
    """Let a policy decode one greedy text, and return its rounds.

    Bit i of a draft tells whether the draft, given the target's tokens before position i, proposes the target's
    token there; one plain sequence stands for a single draft called "draft". The text has as many tokens as the
    shortest sequence, and ends by its length. Times are those of `costs`, lags those of drafts with a cache.
    `match_lengths` gives the match length of a draft at each position, where it gives any. Every token of the prompt
    and of the text is 0.

    `signals` gives the signals of the token that a draft proposes at each position, their own `position` not counted;
    without them a draft is sure of itself exactly where it is right. `paceline.core.testing.texts` makes texts whose
    signals are as good as a calibrated model's and no better.

    Raises:
        ValueError: `signals` is too short, or for drafts that are not there.
    """
    drafts = bits if isinstance(bits, Mapping) else {"draft": bits}
    told = signals if isinstance(signals, Mapping) else {"draft": signals} if signals is not None else {}
    wanted = min(len(sequence) for sequence in drafts.values())
    if not told.keys() <= drafts.keys() or any(len(known) < wanted for known in told.values()):
        raise ValueError(
            f"`signals` must give the drafts {', '.join(drafts)} one record a token, {wanted} in all"
        )
    costs = costs or FixedCosts()
    engine = engine or ENGINE
    match_lengths = match_lengths or {}
    lags = dict.fromkeys(drafts, prompt - 1)
    rounds: list[Round] = []
    output: list[int] = []
    token_view = TokenView((0,) * prompt, output)
    position = 0
    while position < wanted:
        start = RoundStart(
            len(rounds),
            position,
            prompt + position,
            wanted - position - 1,
            {
                name: DraftState(lag, match_lengths[name][position] if name in match_lengths else None)
                for name, lag in lags.items()
            },
            costs,
            engine,
            token_view,
        )
        plan = name_draft(policy.plan(start), start.drafts)
        agreed = drafts[plan.draft][position : position + plan.gamma] if plan.draft is not None else ()
        drafted = len(agreed)
        seen: tuple[TokenSignals, ...] = ()
        if drafted and (plan.stop is not None or (needs_of(policy) and plan.use_signals)):
            known = told.get(plan.draft or "")
            alike = known[position : position + drafted] if known is not None else _sure(agreed)
            seen = watched(needs_of(policy), plan, alike)
            drafted = propose(policy, plan, seen)
        accepted = 0
        while accepted < drafted and agreed[accepted]:
            accepted += 1
        emitted = accepted + 1
        ended: Ended | None = "length" if position + emitted >= wanted else None
        scores = {
            name: tuple(map(float, drafts[name][position : position + emitted]))
            for name in sorted(plan.score)
            if name != plan.draft
        }
        done = settle(
            start,
            plan,
            drafted=drafted,
            accepted=accepted,
            ended=ended,
            scores=scores,
            signals=seen[:drafted],
        )
        output.extend(done.tokens)
        policy.observe(done)
        rounds.append(done)
        for name in lags:
            if name == plan.draft and drafted:
                lags[name] = int(accepted == drafted)
            else:
                lags[name] = 0 if name in scores else lags[name] + emitted
        position += emitted
    return rounds


def propose(policy: Policy | None, plan: Plan, signals: Sequence[TokenSignals]) -> int:
    """Return how many of the planned tokens are drafted before `keep_drafting` or the plan's own rule stops drafting.

    Without a policy only the rule is asked, as with a draft that delivers nothing of what the policy needs.
    """
    listening = policy if policy is not None and needs_of(policy) and plan.use_signals else None
    for drafted, signal in enumerate(signals, start=1):
        stopped = plan.stop is not None and plan.stop.stops(signal)
        if stopped or (listening is not None and not keeps(listening, signal)):
            return drafted
    return len(signals)


def watched(
    needs: frozenset[Signal], plan: Plan, signals: Sequence[TokenSignals]
) -> tuple[TokenSignals, ...]:
    """Return the signals that a round's proposal carries: positions from 0 on, and what nobody asked for is None."""
    wanted = needs if plan.use_signals else frozenset[Any]()
    if plan.stop is not None:
        wanted |= {plan.stop.signal}
    top1, prob, entropy = "top1" in wanted, "prob" in wanted, "entropy" in wanted
    margin, token = "margin" in wanted, "token" in wanted
    return tuple(
        TokenSignals(
            position,
            one.top1 if top1 else None,
            one.prob if prob else None,
            one.entropy if entropy else None,
            one.margin if margin else None,
            one.token if token else None,
        )
        for position, one in enumerate(signals)
    )


def settle(
    start: RoundStart,
    plan: Plan,
    *,
    drafted: int,
    accepted: int,
    emitted: int | None = None,
    ended: Ended | None = None,
    scores: Mapping[str, tuple[float, ...]] | None = None,
    signals: tuple[TokenSignals, ...] = (),
) -> Round:
    """Return the finished round of a plan, as long as the cost model said it would take.

    All of accepted + 1 tokens are emitted unless `emitted` says otherwise.
    """
    draft, costs = plan.draft, start.costs
    emitted = accepted + 1 if emitted is None else emitted
    lag = start.drafts[draft].lag if draft is not None else 0
    draft_s = costs.draft_s(draft, drafted, lag) if draft is not None else 0.0
    verify_s = costs.verify_s(drafted + 1, start.context)
    score_s = 0.0
    if scores:
        scored = tuple(name for name in scores if name in start.drafts)
        score_s = ScoreWork(scored, {name: start.drafts[name].lag + emitted for name in scored}).price(costs)
    return finish_round(
        start,
        plan,
        drafted=drafted,
        accepted=accepted,
        tokens=(0,) * emitted,
        ended=ended,
        draft_s=draft_s,
        verify_s=verify_s,
        total_s=draft_s + verify_s + score_s,
        signals=signals,
        scores=scores,
        score_s=score_s,
    )


def _sure(agreed: Sequence[bool]) -> list[TokenSignals]:
    """Return signals of a draft that knows when it is sure."""
    return [RIGHT if bit else WRONG for bit in agreed]
