"""The values of a round: what a policy is shown, what it answers, and what came of it.

Records hold numbers and names only. They know no tensor, no model and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from paceline.core.frozen import quick_init

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from paceline.core.protocols import Costs

Signal = Literal["top1", "prob", "entropy", "margin", "token"]
"""A number about one draft token: probability of the most likely token; probability of the token that was drafted,
which is the same under greedy drafting; entropy in nats; difference between the two highest probabilities; the
drafted token itself. All are of the distribution that the token was drawn from."""

Ended = Literal["eos", "stop", "length"]
"""Reason a round was cut: end-of-sequence token, a stop criterion, or the length limit."""

SIGNALS: frozenset[Signal] = frozenset({"top1", "prob", "entropy", "margin", "token"})


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Abilities of an engine, so that a policy can refuse it before the first token.

    Attributes:
        gammas: The only gammas the engine runs, ascending; None when any gamma is possible.
        zero_gamma: Whether a round may be planned without drafting.
        draft_switch: How often another draft may be chosen.
        latency: Whether rounds tell draft and verify time apart ("split"), only their sum ("fused": `draft_s` is 0 and
            `verify_s` the sum), or neither. With a sum alone the engine's `costs` are fitted so that they tell the two
            apart all the same: see `FusedCosts`.
        action_delay: Rounds that pass before a decision takes effect.
        signals: The signals the engine can deliver after each draft token.
        sampling: Whether tokens can be drawn losslessly (see `Sampling`), not only chosen greedily.
        nodes: The most draft tokens of a tree that can be verified in one pass; 0: chains only. A round of several
            requests that share a pass shows 0.
        processors: Whether the logits of each token can be changed by `Sampling.processors`.
    """

    gammas: tuple[int, ...] | None = None
    zero_gamma: bool = True
    draft_switch: Literal["round", "request", "none"] = "round"
    latency: Literal["split", "fused", "none"] = "split"
    action_delay: int = 0
    signals: frozenset[Signal] = SIGNALS
    sampling: bool = False
    nodes: int = 0
    processors: bool = False


@dataclass(frozen=True, slots=True)
class Requirements:
    """Abilities a policy cannot do without; checked against `Capabilities` before the first token.

    Attributes:
        any_gamma: The policy plans every gamma up to the engine's largest; an engine that leaves some out is refused. A
            policy that chooses among `RoundStart.gammas` does not need this.
        zero_gamma: The policy plans rounds without drafting.
        draft_switch: How often the policy must be able to choose another draft: every round, every request, or never
            ("none"). A policy that makes do with what the engine allows, and chooses within that, needs "none".
        latency: The least detail of time it learns from. A policy that reads `RoundStart.costs` needs "fused", one that
            reads `Round.draft_s` or `Round.verify_s` by themselves "split".
        immediate: A decision must take effect in the round it was made for.
        perplexity: `RoundStart.perplexity` is wanted, where the target can tell it. A wish: nothing is refused.
        signals: Signals it stops drafting by, which its draft must deliver. What `needs` names beyond these is only
            wanted of drafts that have it.
        draft: The draft it stops by `signals`; None is the first one listed, or every one if it changes drafts.
    """

    any_gamma: bool = False
    zero_gamma: bool = False
    draft_switch: Literal["none", "request", "round"] = "none"
    latency: Literal["split", "fused", "none"] = "none"
    immediate: bool = False
    perplexity: bool = False
    signals: frozenset[Signal] = frozenset()
    draft: str | None = None


@dataclass(frozen=True, slots=True)
class StopRule:
    """Stop drafting after the first token whose `signal` lies beyond a threshold.

    A rule declared in `Plan.stop` can be evaluated on the device. Give exactly one bound.
    The token that triggers the rule stays in the proposal and is verified.
    """

    signal: Signal
    below: float | None = None
    above: float | None = None

    def __post_init__(self) -> None:
        if (self.below is None) == (self.above is None):
            raise ValueError("a StopRule takes exactly one of `below` and `above`")
        if self.signal == "token":
            raise ValueError("a token is no quantity: a StopRule needs a signal that can be compared")

    def stops(self, signals: TokenSignals) -> bool:
        """Tell whether drafting ends after the token with these signals."""
        value = signals.value(self.signal)
        return value < self.below if self.below is not None else value > self.above  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class TokenSignals:
    """The signals of one draft token; those nobody asked for are None.

    Attributes:
        position: 0 for the first draft token of the round.
    """

    position: int
    top1: float | None = None
    prob: float | None = None
    entropy: float | None = None
    margin: float | None = None
    token: int | None = None

    def value(self, signal: Signal) -> float:
        """Return one signal.

        Raises:
            ValueError: The signal was not asked for in `needs` or `Plan.stop`.
        """
        number: float | None = getattr(self, signal)
        if number is None:
            raise ValueError(f"signal {signal!r} was not asked for; name it in the policy's `needs`")
        return number


@quick_init
@dataclass(frozen=True, slots=True)
class Plan:
    """A policy's decision for one round.

    Attributes:
        gamma: Draft tokens wanted; 0 is plain decoding.
        draft: Name of the draft; None is the first one listed.
        stop: Optional threshold on one signal that ends drafting early.
        reason: One word on why, for traces and the live line ("probe", "warm-up").
        score: Other drafts that shall say, once the round is verified, what they would have made of it; see
            `Round.scores`. Drafts that cannot say are left out. It costs what reading the new tokens costs.
        use_signals: Whether the draft delivers the signals in the policy's `needs`, and asks `keep_drafting`; False
            spares their cost.
        nodes: Draft tokens of a tree in all, at least `gamma`, which is then its depth; 0 is a chain of `gamma` tokens.
            A draft that knows no trees drafts that chain in its place.
        width: The most tokens of a tree that follow the same token.
    """

    gamma: int
    draft: str | None = None
    stop: StopRule | None = None
    reason: str | None = None
    score: frozenset[str] = frozenset()
    use_signals: bool = True
    nodes: int = 0
    width: int = 1


class DraftState(NamedTuple):
    """The state of one draft before a round.

    Attributes:
        lag: Tokens of the context that its cache lacks.
        match_length: The length of its match, for drafts that know that before they draft, such as prompt lookup; 0
            when there is nothing to propose. None for all others.
    """

    lag: int
    match_length: int | None = None


@quick_init
@dataclass(frozen=True, slots=True)
class RoundStart:
    """The state of a request before a round, as a policy sees it.

    Attributes:
        index: Number of this round in its request, from 0.
        position: Tokens emitted so far.
        context: Tokens of prompt and output so far.
        budget: The largest gamma that can still pay: tokens wanted minus 1.
        drafts: The state of each draft, by name and in the order listed.
        costs: The live cost model.
        capabilities: What the engine can do.
        tokens: Prompt and output so far, to be read and not kept: it grows under the reader.
        batch: Requests that are decoded together with this one, itself included.
        perplexity: exp of the mean negative log probability of the prompt's tokens under the target; None where it
            was not wanted or cannot be told.
    """

    index: int
    position: int
    context: int
    budget: int
    drafts: Mapping[str, DraftState]
    costs: Costs
    capabilities: Capabilities = field(default_factory=Capabilities)
    tokens: Sequence[int] = ()
    batch: int = 1
    perplexity: float | None = None

    def gammas(self, limit: int) -> Sequence[int]:
        """Return the gammas that this round leaves open up to `limit`, ascending and never empty.

        `Plan(start.gammas(8)[-1])` is at most 8, and lawful on every engine. All lie in 0..min(limit, budget). An
        engine's fixed set is respected, and 0 is left out where the engine always drafts. Where every gamma of such an
        engine is above `limit`, its smallest remains; where every one is above the budget the answer is (0,), for the
        budget outranks the engine's set. Without a draft it is 0 alone.
        """
        top = min(limit, self.budget) if self.drafts else 0
        capabilities = self.capabilities
        if capabilities.gammas is None:
            least = 0 if capabilities.zero_gamma or not self.drafts else min(1, self.budget)
            return range(least, max(top, least) + 1)
        fitting = [gamma for gamma in capabilities.gammas if 0 < gamma <= top]
        if capabilities.zero_gamma:
            return [0, *fitting]
        if not fitting and self.drafts:
            fitting = [gamma for gamma in capabilities.gammas if 0 < gamma <= self.budget][:1]
        return fitting or (0,)

    def fit(self, plan: Plan) -> Plan:
        """Return a plan as far as budget and engine go: a smaller gamma, fewer nodes, a chain for a tree."""
        gamma = self.gammas(plan.gamma)[-1]
        nodes = min(plan.nodes, self.capabilities.nodes)
        tree = (nodes, plan.width) if nodes >= gamma > 0 else (0, 1)
        if gamma == plan.gamma and tree == (plan.nodes, plan.width):
            return plan
        draft = plan.draft if gamma else None
        return Plan(gamma, draft, plan.stop, plan.reason, plan.score, plan.use_signals, *tree)


class TreeOutcome(NamedTuple):
    """The outcome of a round that drafted a tree.

    Attributes:
        nodes: Draft tokens of the tree.
        ranks: For each token accepted its place among the draft tokens that follow the same token; 0 is the first.
        offered: How many draft tokens follow the last token of the context, and each token accepted: one number more
            than `ranks`.
    """

    nodes: int
    ranks: tuple[int, ...]
    offered: tuple[int, ...]


@quick_init
@dataclass(frozen=True, slots=True)
class Round:
    """One finished round.

    Attributes:
        index, position, context: As in `RoundStart`: before this round.
        plan: The policy's decision, with the draft's name filled in when something was drafted.
        lag: Tokens the planned draft had to catch up on first.
        drafted: Draft tokens proposed, one after the other: of a tree the depth it reached.
        accepted: Draft tokens the target agreed with.
        emitted: Tokens delivered: accepted + 1, fewer when the round was ended.
        ended: Why the round was cut, or None. A cut round says nothing about acceptance past the cut.
        draft_s, verify_s: Seconds spent drafting (catching up included) and verifying; of what several requests share,
            the part of this one.
        total_s: Seconds from the plan until the caches were consistent again; as far as they are this request's.
        tokens: The tokens delivered, `emitted` of them.
        signals: One record for each draft token when the policy asked for signals, else empty.
        match_length: The length of the match that the planned draft had before the round, if it tells that.
        scores: For each draft that was asked by `Plan.score`, and for each token delivered, the probability that the
            target would have accepted the draft's token there: under greedy decoding 1.0 where it is the same token and
            0.0 where it is not; under sampling the probability that the draft would have drawn the very same token,
            which is at most that probability.
        score_s: Seconds the scoring took.
        drafts: The state of every draft before the round, as in `RoundStart`.
        tree: What came of a tree; None where a chain was drafted.
    """

    index: int
    position: int
    context: int
    plan: Plan
    lag: int
    drafted: int
    accepted: int
    emitted: int
    ended: Ended | None
    draft_s: float
    verify_s: float
    total_s: float
    tokens: tuple[int, ...]
    signals: tuple[TokenSignals, ...] = ()
    match_length: int | None = None
    scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    score_s: float = 0.0
    drafts: Mapping[str, DraftState] = field(default_factory=dict)
    tree: TreeOutcome | None = None

    @property
    def nodes(self) -> int:
        """Draft tokens that were verified: those of the tree, or of the chain."""
        return self.drafted if self.tree is None else self.tree.nodes

    @property
    def ranks(self) -> tuple[int, ...]:
        """For each token accepted of a tree its place among its siblings; empty for a chain: see `TreeOutcome`."""
        return () if self.tree is None else self.tree.ranks

    @property
    def offered(self) -> tuple[int, ...]:
        """Draft tokens that followed each place on the way through a tree; empty for a chain: see `TreeOutcome`."""
        return () if self.tree is None else self.tree.offered

    @property
    def rejected(self) -> bool:
        """True if the target is known to have refused a draft token of this round.

        A round that was ended may have been cut before its first refusal, so it never counts as one. Of a tree it is
        what followed the last accepted token that was refused, all of it; where nothing did, nothing was.
        """
        if self.tree is not None:
            return self.ended is None and self.tree.offered[-1] > 0
        return self.ended is None and self.accepted < self.drafted


def name_draft(plan: Plan, drafts: Iterable[str]) -> Plan:
    """Return a plan under its draft's name: the first of `drafts` where it names none, and none where gamma is 0."""
    draft = None if plan.gamma == 0 else plan.draft or next(iter(drafts), None)
    if plan.draft == draft:
        return plan
    # `dataclasses.replace` takes three times as long.
    return Plan(
        plan.gamma, draft, plan.stop, plan.reason, plan.score, plan.use_signals, plan.nodes, plan.width
    )


def finish_round(
    start: RoundStart,
    plan: Plan,
    drafted: int,
    accepted: int,
    tokens: tuple[int, ...],
    ended: Ended | None,
    draft_s: float,
    verify_s: float,
    total_s: float,
    signals: tuple[TokenSignals, ...] = (),
    scores: Mapping[str, tuple[float, ...]] | None = None,
    score_s: float = 0.0,
    tree: TreeOutcome | None = None,
) -> Round:
    """Return the record of a round.

    Args:
        start: Where the request stood before it. An engine that plans for several requests at once, or ahead of time,
            gives each request its own.
        plan: What it was drafted under, its draft named: see `name_draft`.
        drafted: Draft tokens proposed; of a tree the depth it reached.
        accepted: Those that the target agreed with.
        tokens: What was delivered, cut where the text ended.
        ended: Why it was cut, if it was.
        draft_s: Seconds of drafting; 0 where only the sum of drafting and verifying is known.
        verify_s: Seconds of verifying, or the sum.
        total_s: Seconds of the round.
        signals: One record for each draft token, if signals were asked for.
        scores: What other drafts made of the tokens delivered, where `Plan.score` asked them.
        score_s: Seconds the scoring took.
        tree: What came of a tree, where one was drafted.
    """
    draft = plan.draft
    state = None if draft is None else start.drafts.get(draft)
    return Round(
        start.index,
        start.position,
        start.context,
        plan,
        0 if state is None else state.lag,
        drafted,
        accepted,
        len(tokens),
        ended,
        draft_s,
        verify_s,
        total_s,
        tokens,
        signals,
        None if state is None else state.match_length,
        scores or {},
        score_s,
        start.drafts,
        tree,
    )
