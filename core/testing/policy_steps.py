"""Random rounds for a policy, what it is shown and what comes of it, and the tools of laws about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Flag, auto
from functools import cache
from itertools import groupby
from random import Random
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure

from paceline.core.errors import ConfigError
from paceline.core.guards.policy import needs_of, requires_of, state_of
from paceline.core.json_text import not_json
from paceline.core.protocols import Policy
from paceline.core.records import (
    Capabilities,
    DraftState,
    Ended,
    Plan,
    RoundStart,
    TokenSignals,
    TreeOutcome,
    name_draft,
)
from paceline.core.testing.doubles import FixedCosts
from paceline.core.testing.failures import require
from paceline.core.testing.playing import ENGINE, propose, settle, watched

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from paceline.core.records import Round

Make = Callable[[], Policy]
"""Returns a fresh policy at every call, always of the same configuration and seed."""

Law = Callable[[Plan, RoundStart], None]
"""Is asked about each plan, and raises AssertionError where it is not lawful."""

COSTS = FixedCosts(1.0, lambda length, context: 9.0 + 0.1 * length + 0.001 * context, catch_up_s=0.05)
TEXT = tuple(i * i % 23 for i in range(60))

STRANGER = "nobody's"
"""A draft that no request has."""


def for_steps(check: Callable[[Any], object], strategy: SearchStrategy[Any], examples: int) -> None:
    """Run a check over many generated lives, the same ones for every policy; when one fails, shrink it."""
    try:
        for life in _lives(strategy, examples):
            check(life)
    except Exception as error:  # noqa: BLE001 - whatever a policy raises is its failure
        failure, failing = error, [life]
    else:
        return

    def shorter(life: Any) -> None:
        try:
            check(life)
        except Exception:
            failing.append(life)
            raise

    try:
        _search(shorter, strategy, examples)
    except Exception as error:  # noqa: BLE001 - the same for a shorter life
        failure = error
    # A policy that is not deterministic need not fail twice; it failed.
    failure.add_note(f"after these rounds:\n{_story(failing[-1])}")
    raise failure


def _story(life: Any) -> str:
    """Return a generated life as text, its rounds by the line."""
    if isinstance(life, tuple):
        return "\nand after a restart:\n".join(map(_story, life))
    return "\n".join(f"  {len(list(same))} x {step}" for step, same in groupby(life)) or "  none"


@cache
def _lives(strategy: SearchStrategy[Any], examples: int) -> tuple[Any, ...]:
    """Return what hypothesis generates; kept, since generating takes ten times as long as living through it."""
    lives: list[Any] = []
    _search(lives.append, strategy, examples)
    return tuple(lives)


def _search(check: Callable[[Any], object], strategy: SearchStrategy[Any], examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,  # lives are told in the words of rounds
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(value: Any) -> None:
        check(value)

    try:
        run()
    except FlakyFailure as error:
        raise error.exceptions[0] from None


def saved(policy: Policy) -> str:
    """Return a policy's state as JSON."""
    state = state_of(policy)
    problem = not_json(state)
    require(
        problem is None,
        f"state_dict() must return what JSON can hold, with finite numbers; found {problem}: save lists and mappings "
        "of plain values, and keep what observe() divides by, or takes the logarithm of, away from 0",
    )
    return json.dumps(state, sort_keys=True)


def short(value: object) -> str:
    """Return a value's text, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


class Words(tuple[int, ...]):
    """The tokens a policy is shown, in a class of their own, so that it can be seen whether they were kept."""

    __slots__ = ()


class Odd(Flag):
    """Oddities of engines and drafts that a policy might not expect."""

    NO_MATCH_LENGTHS = auto()
    NO_SCORES = auto()
    NO_PERPLEXITY = auto()
    STRANGERS = auto()
    """Scores of a draft that is not there, and scores nobody asked for."""
    DEAF = auto()
    """Drafts after the first deliver no signals but those the policy says it stops by."""
    WITHOUT_FIRST = auto()
    WITHOUT_LAST = auto()
    """The first or the last draft has failed, and the request goes on to its end without it."""
    OTHER_LAGS = auto()
    """Drafts after the first have read everything but one token."""
    BATCH = auto()
    SHORT = auto()
    """A round that was ended delivers one token, whatever was accepted."""


NORMAL = Odd(0)


PAIRS = (Odd.NO_MATCH_LENGTHS | Odd.NO_SCORES, Odd.STRANGERS | Odd.DEAF, Odd.DEAF | Odd.WITHOUT_FIRST)


WITHOUT = Odd.WITHOUT_FIRST | Odd.WITHOUT_LAST


@dataclass(frozen=True, slots=True)
class Step:
    """One round as fate has it.

    Attributes:
        budget, context, lag: Shown to the policy; every draft lags alike.
        offered: Tokens the draft has to offer, at most, and its match length.
        accepted: Tokens the target would accept, at most.
        ended: Whether and why the round is the last of its request.
        abandoned: Whether the caller leaves before the round is observed, somewhere between its draft tokens.
        top1: The draft's confidence in each token.
        odd: What is unusual about this round.
        perplexity: Of the request's prompt.
    """

    budget: int
    context: int
    lag: int
    offered: int
    accepted: int
    ended: Ended | None = None
    abandoned: bool = False
    top1: float = 0.5
    odd: Odd = NORMAL
    perplexity: float = 20.0

    def __str__(self) -> str:
        unusual = [
            word
            for word in (self.ended and f"ended by {self.ended}", self.abandoned and "left", self.odd.name)
            if word
        ]
        return (
            f"budget {self.budget}, context {self.context}, lag {self.lag}, match length {self.offered}, "
            f"{self.accepted} acceptable, top1 {self.top1:g}{''.join(f', {word}' for word in unusual)}"
        )


STEPS = st.lists(
    st.builds(
        Step,
        budget=st.integers(0, 40),
        context=st.integers(1, 5000),
        lag=st.integers(0, 5000),
        offered=st.integers(0, 40),
        accepted=st.integers(0, 40),
        ended=st.sampled_from([None, None, None, "eos", "stop", "length"]),
        abandoned=st.sampled_from([False, False, False, False, True]),
        top1=st.floats(0.0, 1.0),
        odd=st.sampled_from([*[NORMAL] * 8, *Odd, *PAIRS]),
    ),
    max_size=40,
)
"""Hypothesis strategy of short lives of a policy."""


@cache
def many_steps(count: int, seed: int, *, accuracy: float = 0.7) -> tuple[Step, ...]:
    """Return a long, ordinary life: each draft token is right with the same chance, each request takes 50 rounds.

    No two requests are alike in their prompts and their match lengths.
    """
    random = Random(seed)
    return tuple(
        Step(
            budget=49 - i % 50 + 10,
            context=20 + i // 50 * 37 % 1009 + i % 50,
            lag=0,
            offered=random.randint(20, 40),
            accepted=next(k for k in range(1000) if random.random() >= accuracy),
            ended="length" if i % 50 == 49 else None,
            top1=random.random(),
            perplexity=1.0 + i // 50 * 0.618 % 29,
        )
        for i in range(count)
    )


def live(
    policy: Policy,
    steps: Iterable[Step],
    drafts: Sequence[str],
    *,
    engine: Capabilities = ENGINE,
    text: Sequence[int] = TEXT,
    law: Law | None = None,
) -> list[Plan]:
    """Let a policy live through `steps` and return its plans; `law` is asked about each of them.

    A policy whose options name a draft may refuse a round without it; the request then ends.
    """
    plans = []
    index, without = 0, NORMAL
    for step in steps:
        without = (without if index else NORMAL) | step.odd & WITHOUT
        start = begin(replace(step, odd=step.odd | without), index, drafts, engine, text)
        try:
            plan = policy.plan(start)
        except ConfigError:
            if len(start.drafts) == len(drafts):
                raise
            index = 0
            continue
        if law is not None:
            law(plan, start)
        plans.append(plan)
        done = _finish(policy, plan, start, step, first=drafts[0])
        if done is not None:
            policy.observe(done)
        index = 0 if step.abandoned or step.ended else index + 1
    return plans


def begin(
    step: Step, index: int, drafts: Sequence[str], engine: Capabilities, text: Sequence[int] = TEXT
) -> RoundStart:
    """Return what a policy is shown before a step."""
    odd = step.odd
    there = drafts[1 if Odd.WITHOUT_FIRST in odd else 0 : -1 if Odd.WITHOUT_LAST in odd else None]
    lags = dict.fromkeys(there, step.lag)
    if Odd.OTHER_LAGS in odd:
        lags |= dict.fromkeys(there[1:], 1)
    match_length = None if Odd.NO_MATCH_LENGTHS in odd else step.offered
    return RoundStart(
        index,
        index,
        step.context,
        step.budget if lags else 0,
        {name: DraftState(lag, match_length) for name, lag in lags.items()},
        COSTS,
        engine,
        tokens=Words(text[: step.context % len(text) + 1]),
        batch=7 if Odd.BATCH in odd else 1,
        perplexity=None if Odd.NO_PERPLEXITY in odd else step.perplexity,
    )


def _finish(policy: Policy, plan: Plan, start: RoundStart, step: Step, *, first: str) -> Round | None:
    """Draft, verify and return the finished round, or None when it was left while its tokens were drafted."""
    full = name_draft(plan, start.drafts)
    top1, entropy, margin = step.top1, 3.0 * (1.0 - step.top1), step.top1 / 2
    offered = min(full.gamma, step.accepted if step.abandoned else step.offered)
    signals = [
        TokenSignals(i, top1, top1, entropy, margin, TEXT[(step.context + i) % len(TEXT)])
        for i in range(offered)
    ]
    deaf = Odd.DEAF in step.odd and full.draft != first
    heard = needs_of(policy) & requires_of(policy).signals if deaf else needs_of(policy)
    if not full.use_signals:
        heard = frozenset()
    seen = watched(heard, full, signals)
    drafted = propose(policy if heard else None, full, seen)
    if step.abandoned:
        return None
    accepted = min(step.accepted, drafted)
    emitted = 1 if step.ended and Odd.SHORT in step.odd else accepted + 1
    scored = set() if Odd.NO_SCORES in step.odd else set(full.score - {full.draft})
    if Odd.STRANGERS in step.odd:
        scored |= {STRANGER, *start.drafts} - {full.draft or STRANGER}
    return settle(
        start,
        full,
        drafted=drafted,
        accepted=accepted,
        emitted=emitted,
        ended=step.ended,
        scores={name: (float(step.accepted > 0),) * emitted for name in sorted(scored)},
        signals=seen[:drafted] if heard or full.stop is not None else (),
        # A draft that tells no match lengths is one that knows no trees either.
        tree=_tree(full, step, drafted, accepted)
        if full.nodes and drafted and Odd.NO_MATCH_LENGTHS not in step.odd
        else None,
    )


def _tree(plan: Plan, step: Step, drafted: int, accepted: int) -> TreeOutcome:
    """Return what came of a tree of this depth; all of its nodes have as many children as they may."""
    ranks = tuple((step.context + depth) % plan.width for depth in range(accepted))
    return TreeOutcome(
        plan.nodes, ranks, (plan.width,) * accepted + (plan.width if accepted < drafted else 0,)
    )
