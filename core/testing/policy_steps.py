"""Random rounds for a policy: what it is shown before each, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from paceline.core.records import Capabilities, Ended, Plan, RoundStart, TokenSignals
from paceline.core.testing.costs import FixedCosts
from paceline.core.testing.playing import ENGINE, named, propose, settle

if TYPE_CHECKING:
    from paceline.core.protocols import Policy
    from paceline.core.records import Round

COSTS = FixedCosts(1.0, lambda length, context: 9.0 + 0.1 * length + 0.001 * context, catch_up_s=0.05)
TEXT = tuple(i * i % 23 for i in range(60))
Law = Callable[[Plan, RoundStart], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One round as fate has it.

    Attributes:
        budget, context, lag: Shown to the policy; every draft lags alike.
        found: Tokens the draft has to offer, at most.
        accepted: Tokens the target would accept, at most.
        ended: Whether and why the round is the last of its request.
        abandoned: Whether the caller leaves before the round is observed.
        top1: The draft's confidence in each token.
    """

    budget: int
    context: int
    lag: int
    found: int
    accepted: int
    ended: Ended | None = None
    abandoned: bool = False
    top1: float = 0.5


STEPS = st.lists(
    st.builds(
        Step,
        budget=st.integers(0, 40),
        context=st.integers(1, 5000),
        lag=st.integers(0, 5000),
        found=st.integers(0, 40),
        accepted=st.integers(0, 40),
        ended=st.sampled_from([None, None, None, "eos", "stop", "length"]),
        abandoned=st.sampled_from([False, False, False, False, True]),
        top1=st.floats(0.0, 1.0),
    ),
    max_size=40,
)
"""Hypothesis strategy of short lives of a policy."""


def many_steps(count: int, seed: int, *, accuracy: float = 0.7) -> list[Step]:
    """Return a long, ordinary life: each draft token is right with the same chance, each request takes 50 rounds."""
    random = Random(seed)
    return [
        Step(
            budget=49 - i % 50 + 10,
            context=20 + i % 50,
            lag=0,
            found=40,
            accepted=next(k for k in range(1000) if random.random() >= accuracy),
            ended="length" if i % 50 == 49 else None,
            top1=random.random(),
        )
        for i in range(count)
    ]


def live(
    policy: Policy,
    steps: Iterable[Step],
    drafts: Sequence[str],
    *,
    engine: Capabilities = ENGINE,
    law: Law | None = None,
) -> list[Plan]:
    """Let a policy live through `steps` and return its plans; `law` is asked about each of them."""
    plans = []
    index = 0
    for step in steps:
        lags = dict.fromkeys(drafts, step.lag)
        start = RoundStart(
            index,
            index,
            step.context,
            step.budget,
            lags,
            COSTS,
            engine,
            tokens=TEXT[: step.context % len(TEXT) + 1],
            hints=dict.fromkeys(drafts, step.found),
            perplexity=1.0 + step.lag,
        )
        plan = policy.plan(start)
        if law is not None:
            law(plan, start)
        plans.append(plan)
        done = _finish(policy, plan, start, step)
        if not step.abandoned:
            policy.observe(done)
        index = 0 if step.abandoned or step.ended else index + 1
    return plans


def _finish(policy: Policy, plan: Plan, start: RoundStart, step: Step) -> Round:
    full = named(plan, start)
    top1, entropy, margin = step.top1, 3.0 * (1.0 - step.top1), step.top1 / 2
    signals = [
        TokenSignals(i, top1, top1, entropy, margin, TEXT[(step.context + i) % len(TEXT)])
        for i in range(min(full.gamma, step.found))
    ]
    asked = policy.needs if full.stop is None else policy.needs | {full.stop.signal}
    signals = [
        TokenSignals(i, **{name: getattr(one, name) for name in asked}) for i, one in enumerate(signals)
    ]
    drafted = propose(policy, full, signals)
    accepted = min(step.accepted, drafted)
    scores = {name: (float(step.accepted > 0),) * (accepted + 1) for name in full.score - {full.draft}}
    done = settle(start, full, drafted=drafted, accepted=accepted, ended=step.ended, scores=scores)
    return replace(done, signals=tuple(signals[:drafted]) if asked else ())
