"""Times of a policy's decisions: microseconds of `plan`, `keep_drafting` and `observe`, without a model.

Rounds are made up: draft tokens are right as often as their signals say, and the live cost model is fed with the noisy
times of a target with a small draft and a lookup, which is not timed: it learns between the rounds. Nothing here says
how fast anything decodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from statistics import median, quantiles
from time import perf_counter_ns
from typing import TYPE_CHECKING, cast

from paceline.core.costs import LiveCosts
from paceline.core.guards.policy import ask_keep_drafting, needs_of, requires_of
from paceline.core.plugins.catalogue import build_policy
from paceline.core.testing.doubles import FixedCosts
from paceline.core.testing.playing import play
from paceline.core.testing.texts import calibrated

if TYPE_CHECKING:
    from paceline.core.config.blocks import PolicyConfig
    from paceline.core.protocols import Policy
    from paceline.core.records import Plan, Round, RoundStart, TokenSignals

GAMMA = 16
"""The gamma, or the largest one, of policies that have an option for it and were not told otherwise."""

ACCURACY = {"first": 0.85, "second": 0.6}
"""Share of right tokens of each draft: large enough that long drafts are worth a thought."""

WARM_UP, ROUNDS = 500, 2000
TIMES = FixedCosts(
    {"first": 1e-3, "second": 5e-5}, lambda length, context: 1e-2 + 2e-4 * length + 1e-6 * context
)
"""Seconds before the noise: a small model and a lookup beside a target."""

REQUEST = 256
"""Tokens of a request: what a policy does when a request begins is part of its time."""


@dataclass(frozen=True, slots=True)
class Span:
    """Microseconds of one call: the median, and what one call in ten exceeds; None where nothing was called."""

    median: float | None = None
    p90: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Times that one policy takes for its part of a round.

    Attributes:
        policy, drafts: Its name, and how many drafts it had to choose from.
        plan, observe: Once a round.
        keep_drafting: Once a draft token, for policies that ask for signals.
    """

    policy: str
    drafts: int
    plan: Span
    keep_drafting: Span
    observe: Span


def decide(
    name: str,
    config: PolicyConfig,
    drafts: int,
    *,
    rounds: int = ROUNDS,
    warm_up: int = WARM_UP,
    seed: int = 0,
) -> Decision:
    """Time a policy's calls over made-up rounds with one or two drafts; the first ones do not count."""
    clocked = Clocked(build_policy(at_full_length(config), seed), Random(seed))
    text = 0
    while len(clocked.plans_ns) < warm_up + rounds:
        texts = {
            draft: calibrated(REQUEST, accuracy=ACCURACY[draft], seed=seed + text)
            for draft in list(ACCURACY)[:drafts]
        }
        play(
            cast("Policy", clocked),  # it forwards what is timed, and no more
            {draft: bits for draft, (bits, _) in texts.items()},
            signals={draft: signals for draft, (_, signals) in texts.items()},
            match_lengths={draft: [int(bit) for bit in bits] for draft, (bits, _) in list(texts.items())[1:]},
            costs=TIMES,
        )
        text += 1
    skip = len(clocked.keeps_ns) * warm_up // len(clocked.plans_ns)
    return Decision(
        name,
        drafts,
        _span(clocked.plans_ns[warm_up:]),
        _span(clocked.keeps_ns[skip:]),
        _span(clocked.observes_ns[warm_up:]),
    )


def at_full_length(config: PolicyConfig) -> PolicyConfig:
    """Return the configuration with gamma, or the largest gamma, at `GAMMA` where it has its default."""
    fields = type(config).model_fields.keys() - config.model_fields_set
    return config.model_copy(update=dict.fromkeys({"gamma", "max_gamma"} & fields, GAMMA))


@dataclass
class Clocked:
    """A policy whose calls are timed, shown the live cost model of the noisy rounds it has seen."""

    policy: Policy
    random: Random
    costs: LiveCosts = field(default_factory=LiveCosts)
    plans_ns: list[int] = field(default_factory=list)
    keeps_ns: list[int] = field(default_factory=list)
    observes_ns: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.needs, self.requires = needs_of(self.policy), requires_of(self.policy)

    def plan(self, start: RoundStart) -> Plan:
        """Plan, timed."""
        shown = replace(start, costs=self.costs)
        began = perf_counter_ns()
        plan = self.policy.plan(shown)
        self.plans_ns.append(perf_counter_ns() - began)
        return plan

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Keep or stop, timed."""
        began = perf_counter_ns()
        kept = ask_keep_drafting(self.policy, signals)
        self.keeps_ns.append(perf_counter_ns() - began)
        return kept

    def observe(self, done: Round) -> None:
        """Let the cost model see the round, and then the policy, timed."""
        draft_s, verify_s = (
            seconds * self.random.lognormvariate(0, 0.1) for seconds in (done.draft_s, done.verify_s)
        )
        noisy = replace(done, draft_s=draft_s, verify_s=verify_s, total_s=draft_s + verify_s + done.score_s)
        self.costs.observe(noisy)
        began = perf_counter_ns()
        self.policy.observe(noisy)
        self.observes_ns.append(perf_counter_ns() - began)


def _span(times_ns: Sequence[int]) -> Span:
    if len(times_ns) < 2:
        return Span()
    return Span(median(times_ns) / 1000, quantiles(times_ns, n=10)[-1] / 1000)
