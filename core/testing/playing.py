"""Rounds without a model: a policy plays against a record of which draft tokens the target would accept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from paceline.core.clock import ScoreWork
from paceline.core.errors import ContractError
from paceline.core.guards.policy import PolicyGuard, ask_keep_drafting, needs_of
from paceline.core.recorded import DraftTable, RecordedText, TextClock
from paceline.core.records import SIGNALS, Capabilities, TokenSignals, finish_round
from paceline.core.testing.doubles import FixedCosts

if TYPE_CHECKING:
    from paceline.core.protocols import Costs, Draft, Policy
    from paceline.core.records import Ended, Plan, Round, RoundStart, Signal, TreeOutcome

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
        ContractError: The policy broke the contract of a round.
    """
    listed = bits if isinstance(bits, Mapping) else {"draft": bits}
    given = signals if isinstance(signals, Mapping) else {"draft": signals} if signals is not None else {}
    length = min(map(len, listed.values()))
    if not given.keys() <= listed.keys() or any(len(known) < length for known in given.values()):
        raise ValueError(
            f"`signals` must give the drafts {', '.join(listed)} one record a token, {length} in all"
        )
    tables = {
        name: BitTable(name, agrees, given.get(name), (match_lengths or {}).get(name))
        for name, agrees in listed.items()
    }
    text = RecordedText((0,) * prompt, (0,) * length, "length", length, tables, vocabulary=2)
    costs = costs or FixedCosts()
    guard = PolicyGuard(policy, cast("Mapping[str, Draft]", tables), fallback=False)
    rounds: list[Round] = []
    try:
        with text.request(guard, engine or ENGINE, TextClock(costs), costs, rounds.append) as request:
            while request.ended is None:
                request.round()
    except ContractError as error:
        if error.__cause__ is not None:  # what the policy itself raised tells its author more
            raise error.__cause__ from None
        raise
    return rounds


class BitTable(DraftTable):
    """The table of a draft that proposes the right token where its bit is set, and a wrong one elsewhere."""

    __slots__ = ("_token_signals",)

    def __init__(
        self,
        name: str,
        bits: Sequence[bool],
        signals: Sequence[TokenSignals] | None,
        match_lengths: Sequence[int] | None,
    ) -> None:
        agreed, run = [0] * len(bits), 0
        for place in range(len(bits) - 1, -1, -1):
            run = run + 1 if bits[place] else 0
            agreed[place] = run
        offered = range(len(bits), 0, -1)
        super().__init__(name, offered, agreed, match_lengths=match_lengths, signals=SIGNALS)
        # A draft of which nothing is told knows when it is sure.
        self._token_signals = signals if signals is not None else [RIGHT if bit else WRONG for bit in bits]

    def row(self, signals: frozenset[Signal], place: int, count: int) -> Sequence[TokenSignals]:
        """Return the signals of the first `count` tokens that it proposes at a place."""
        return masked(signals, self._token_signals[place : place + count])


def propose(policy: Policy | None, plan: Plan, signals: Sequence[TokenSignals]) -> int:
    """Return how many of the planned tokens are drafted before `keep_drafting` or the plan's own rule stops drafting.

    Without a policy only the rule is asked, as with a draft that delivers nothing of what the policy needs.
    """
    listening = policy if policy is not None and needs_of(policy) and plan.use_signals else None
    for drafted, signal in enumerate(signals, start=1):
        stopped = plan.stop is not None and plan.stop.stops(signal)
        if stopped or (listening is not None and not ask_keep_drafting(listening, signal)):
            return drafted
    return len(signals)


def watched(
    needs: frozenset[Signal], plan: Plan, signals: Sequence[TokenSignals]
) -> tuple[TokenSignals, ...]:
    """Return the signals that a round's proposal carries, where the policy needs some and its plan may stop by one."""
    names = needs if plan.use_signals else frozenset[Any]()
    return masked(names if plan.stop is None else names | {plan.stop.signal}, signals)


def masked(names: frozenset[Signal], signals: Sequence[TokenSignals]) -> tuple[TokenSignals, ...]:
    """Return signals with their positions from 0 on; what nobody asked for is None."""
    top1, prob, entropy = "top1" in names, "prob" in names, "entropy" in names
    margin, token = "margin" in names, "token" in names
    return tuple(
        TokenSignals(
            position,
            about.top1 if top1 else None,
            about.prob if prob else None,
            about.entropy if entropy else None,
            about.margin if margin else None,
            about.token if token else None,
        )
        for position, about in enumerate(signals)
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
    tree: TreeOutcome | None = None,
) -> Round:
    """Return the finished round of a plan, as long as the cost model said it would take.

    All of accepted + 1 tokens are emitted unless `emitted` says otherwise.
    """
    draft, costs = plan.draft, start.costs
    emitted = accepted + 1 if emitted is None else emitted
    lag = start.drafts[draft].lag if draft is not None else 0
    draft_s = costs.draft_s(draft, drafted, lag) if draft is not None else 0.0
    verify_s = costs.verify_s(1 + (drafted if tree is None else tree.nodes), start.context)
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
        tree=tree,
    )
