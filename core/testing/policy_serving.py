"""Laws for engines that decode batches or act late: 0 to n finished rounds a plan, and of earlier plans.

Such an engine asks for one plan a step, for all requests in it, and shows what came of plans made some steps before. It
may leave out rounds, as those of a prompt's first token, or of requests beyond what is shown of a large batch.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from paceline.core.guards.policy import has_member
from paceline.core.records import Capabilities, name_draft
from paceline.core.testing.failures import require
from paceline.core.testing.playing import settle
from paceline.core.testing.policy_states import GROWTH, SLACK, size
from paceline.core.testing.policy_steps import Step, begin, for_steps, many_steps, saved

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paceline.core.protocols import Policy
    from paceline.core.records import Plan, Round, RoundStart
    from paceline.core.testing.policy_steps import Law, Make

FUSED = Capabilities(draft_switch="none", latency="fused", signals=frozenset())
ENGINES = (
    replace(FUSED, gammas=tuple(range(9)), action_delay=1),
    replace(FUSED, gammas=tuple(range(9)), action_delay=2),
    replace(FUSED, gammas=(1, 3, 7)),
    replace(FUSED, draft_switch="round", action_delay=3),
)
"""As vLLM with and without scheduling ahead; as SGLang; and one that changes drafts as well."""

UNSEEN = 1500
"""Plans made without ever seeing a round."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One step of the engine.

    Attributes:
        step: What the policy sees before it, and how its rounds go.
        batch: Requests in it.
        shown: Rounds of it that are shown, at most `batch`.
    """

    step: Step
    batch: int = 1
    shown: int = 1

    def __str__(self) -> str:
        return f"{self.step}; {min(self.shown, self.batch)} of {self.batch} requests shown"


TURNS = st.lists(
    st.builds(
        Turn,
        st.builds(
            Step,
            budget=st.integers(0, 40),
            context=st.integers(50, 5000),
            lag=st.just(0),
            offered=st.integers(0, 40),
            accepted=st.integers(0, 8),
            ended=st.sampled_from([None, None, None, "eos", "length"]),
        ),
        batch=st.integers(1, 5),
        shown=st.integers(0, 5),
    ),
    max_size=30,
)


def serve(
    policy: Policy,
    turns: Iterable[Turn],
    drafts: Sequence[str],
    engine: Capabilities,
    waiting: deque[Plan],
    law: Law | None = None,
) -> list[Plan]:
    """Let a policy steer an engine for some steps and return its plans; `waiting` are those not yet in force."""
    plans = []
    for number, turn in enumerate(turns):
        start = replace(begin(turn.step, number, drafts, engine), batch=turn.batch)
        plan = policy.plan(start)
        if law is not None:
            law(plan, start)
        plans.append(plan)
        waiting.append(name_draft(plan, start.drafts))
        if len(waiting) > engine.action_delay:
            force = waiting.popleft()
            for place in range(min(turn.shown, turn.batch)):
                policy.observe(finished(start, force, turn.step, place))
    return plans


def finished(start: RoundStart, plan: Plan, step: Step, place: int = 0) -> Round:
    """Return a round of a step under the plan in force, of one of its requests; each stands elsewhere in its text."""
    index = start.index + 7 * place
    own = replace(start, index=index, position=2 * index, context=start.context + 11 * place)
    drafted = min(plan.gamma, step.offered, max(start.budget, 0))
    done = settle(own, plan, drafted=drafted, accepted=min(step.accepted, drafted), ended=step.ended)
    return replace(done, draft_s=0.0, verify_s=done.draft_s + done.verify_s)


def bears_batches_and_delay(
    make: Make, drafts: Sequence[str], engine: Capabilities, law: Law, examples: int
) -> None:
    """Plans stay lawful and repeatable when a plan has no round, several, or a late one, also over a restart."""

    def twins(turns: list[Turn]) -> None:
        first, other = make(), make()
        waiting: deque[Plan] = deque()
        others: deque[Plan] = deque()
        half = len(turns) // 2
        before = serve(first, turns[:half], drafts, engine, waiting, law)
        require(
            before == serve(other, turns[:half], drafts, engine, others),
            "two policies of the same configuration and seed planned differently in the same batches: one reads a "
            "clock, an unseeded generator, or state shared between instances",
        )
        if not has_member(first, "load_state_dict"):
            return
        restored = make()
        restored.load_state_dict(json.loads(saved(first)))
        late = deque(waiting)  # rounds under plans of the policy that was saved
        after = serve(first, turns[half:], drafts, engine, waiting, law)
        restored_plans = serve(restored, turns[half:], drafts, engine, late, law)
        require(
            restored_plans == after,
            "a policy restored from its state_dict() while rounds were under way plans differently from the one saved: "
            "what plan() and observe() read must be in the state, or in the round",
        )

    for_steps(twins, TURNS, examples)


def learns_from_every_round(make: Make, drafts: Sequence[str], engine: Capabilities) -> None:
    """The second round of a plan teaches as the first one does, if a second plan's round would have."""
    step = Step(budget=40, context=60, lag=0, offered=40, accepted=0)
    once, again, batch = (_trained(make, drafts, engine) for _ in range(3))
    for policy in (once, again, batch):
        start = begin(step, 0, drafts, engine)
        plan = name_draft(policy.plan(start), start.drafts)
        if plan.gamma == 0:
            return
        policy.observe(finished(start, plan, step))
        if policy is again:
            start = begin(step, 1, drafts, engine)
            plan = name_draft(policy.plan(start), start.drafts)
            policy.observe(finished(start, plan, step, place=1))
        elif policy is batch:
            policy.observe(finished(start, plan, step, place=1))
    require(
        saved(again) == saved(once) or saved(batch) != saved(once),
        "the second round under one plan taught nothing: on engines that decode batches, each plan has a round for "
        "each request; learn from every one, by `Round.plan`",
    )


def learns_from_the_rounds_own_plan(make: Make, drafts: Sequence[str], engine: Capabilities) -> None:
    """A round teaches the same whether it is shown before or after the next plan, where that is the same plan.

    A policy that draws may draw otherwise once it has learnt; so only what differs in most cases is held against it.
    """
    if engine.action_delay == 0:
        return
    least = next((gamma for gamma in engine.gammas or () if gamma), 1)
    late = Step(budget=least, context=60, lag=0, offered=40, accepted=0)
    compared = []
    for accepted, rounds in product((0, 40), (20, 45, 60)):
        step = replace(late, budget=40, accepted=accepted)
        prompt, behind = _trained(make, drafts, engine, rounds), _trained(make, drafts, engine, rounds)
        plans = []
        for policy in (prompt, behind):
            start = begin(step, 0, drafts, engine)
            plan = name_draft(policy.plan(start), start.drafts)
            done = finished(start, plan, step)
            if policy is prompt:
                policy.observe(done)
            second = policy.plan(begin(late, 1, drafts, engine))
            if policy is behind:
                policy.observe(done)
            policy.plan(
                begin(step, 2, drafts, engine)
            )  # what is put in order when a round begins is in order now
            plans.append((plan, second))
        (plan, second), other = plans
        if other == (plan, second) and 0 < second.gamma != plan.gamma > 0:
            compared.append((saved(prompt) != saved(behind), plan.gamma, second.gamma))
    if 2 * sum(differs for differs, _, _ in compared) > len(compared):
        _, gamma, since = max(compared)
        raise AssertionError(
            f"a round of gamma {gamma} that was shown after gamma {since} had been planned taught something else than "
            "before: learn from `Round.plan`, never from the latest plan, or say Requirements(immediate=True)"
        )


def keeps_no_plans(make: Make, drafts: Sequence[str], engine: Capabilities) -> None:
    """Plans whose rounds are never shown do not pile up."""
    policy = make()
    steps = many_steps(UNSEEN, seed=12)
    sizes = []
    for part in (steps[: UNSEEN // 2], steps[UNSEEN // 2 :]):
        serve(policy, [Turn(step, shown=0) for step in part], drafts, engine, deque())
        sizes.append(size(policy))
    require(
        sizes[1] <= GROWTH * sizes[0] + SLACK,
        f"what the policy holds grew from {sizes[0]} to {sizes[1]} bytes over plans whose rounds were never shown: let "
        "no plan wait for its round; what is to be known of it then can stand in Plan.reason",
    )


def _trained(make: Make, drafts: Sequence[str], engine: Capabilities, rounds: int = 45) -> Policy:
    policy = make()
    turns = [Turn(step) for step in many_steps(rounds, seed=7, accuracy=0.8)]
    serve(policy, turns, drafts, replace(engine, action_delay=0), deque())
    return policy
