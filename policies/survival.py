"""Survival of draft tokens times measured cost: the draft and gamma of least time per token.

The chance of each position to be accepted is learnt as `paceline.policies.acceptance` says, for each draft apart, and
for drafts that match length within buckets of their match length; the plan is the draft and gamma of least T / E as
`paceline.policies.gamma_scan` finds it, plain decoding included. Choosing a length is no bandit: a round tells what
every smaller gamma would have yielded, and up to its refusal every larger one.

Choosing a draft is none either where drafts can score a round that another one drafted (`Plan.score`): the tokens up
to the first that the idle draft would have got wrong are what it would have had accepted. What is known of a draft that
neither drafts nor scores fades with every round until it is trusted as in the long run, and so may be tried again.
What is not in use is looked at besides, within a budget of time (see `paceline.policies.exploration`): a draft at rest
by a round of one token, and plain decoding after `plain_every` rounds, or when the cost model says that it is in doubt.

Ours. Per-position acceptance times measured cost is also how SGLang's throughput-aware controller
(https://github.com/sgl-project/sglang/pull/28045) chooses a length; that drafts can be judged without running them
is shown by HedgeSpec (https://arxiv.org/abs/2510.20064). The ACL 2025 paper that `online` follows has neither.
"""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, FiniteFloat

from paceline.core.config.blocks import PolicyConfig
from paceline.core.records import Plan, Requirements
from paceline.policies.acceptance import BUCKETS, Acceptance, export_hazards, read_export
from paceline.policies.exploration import PLAIN, Exploration
from paceline.policies.gamma_scan import LARGEST, best_gamma, chosen_draft, drafting
from paceline.policies.no_signal_policy import NoSignalPolicy
from paceline.policies.scoring_budget import ScoringBudget
from paceline.policies.state import check_count, check_header, check_list, read_random, save_random

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from paceline.core.records import DraftState, Round, RoundStart


class SurvivalOptions(PolicyConfig):
    """Options: what is learnt, how fast it fades, and what may be tried."""

    max_gamma: int = Field(default=16, ge=1, le=LARGEST, description="The largest gamma considered.")
    discount: float = Field(
        default=0.94, gt=0, le=1, description="Weight of what is known, for each further round of evidence."
    )
    prior: tuple[Annotated[FiniteFloat, Field(gt=0)], Annotated[FiniteFloat, Field(gt=0)]] = Field(
        default=(2.0, 1.0),
        description="Accepted and refused tokens assumed of a draft nothing is known about.",
    )
    pooling: FiniteFloat = Field(
        default=24.0, gt=0, description="Observations that the mean of a draft is worth at each position."
    )
    score_share: float = Field(
        default=0.005, ge=0, le=1, description="Share of the time each idle draft may take to score rounds."
    )
    idle_discount: float = Field(
        default=0.98,
        gt=0,
        le=1,
        description="Weight of what is known of a draft, for each round it is not heard of.",
    )
    plain_every: int = Field(
        default=512, ge=1, description="Rounds after which plain decoding is measured again."
    )
    draft: str | None = Field(
        default=None, description="Name of the only draft to use; all of them if left out."
    )


VERSION = 2


class SurvivalConfig(SurvivalOptions):
    """Learn how far each draft is accepted, and plan the draft and gamma of most tokens per second."""

    name: Literal["survival"] = "survival"
    sampling: Literal["mean", "thompson"] = Field(
        default="mean", description="Plan by the mean of what is known, or by a draw from its posterior."
    )

    def build(self, seed: int = 0) -> SurvivalPolicy:
        """Return a fresh policy; with `sampling: thompson` its draws follow from `seed`."""
        return SurvivalPolicy(self, random=Random(seed) if self.sampling == "thompson" else None)


class SurvivalPolicy(NoSignalPolicy):
    """Learns from every round about every draft, then plans as if the next round were like them.

    Args:
        config: Its options.
        random: What draws from the posterior; None plans by the mean.
    """

    requires = Requirements(latency="fused")
    timed = False

    def __init__(self, config: SurvivalOptions, random: Random | None = None) -> None:
        self._config = config
        self._random = random
        self._known: dict[str, Acceptance] = {}
        self._states: Mapping[str, DraftState] = {}
        self._scoring_budget = ScoringBudget(config.score_share)
        self._exploration = Exploration()
        self._plain_s = 0.0  # what a plain step was thought to take when the latest round was planned
        self.token_s = math.inf
        """Seconds per token expected of the latest plan."""
        self._drafting = 0  # rounds in a row of more than one token

    def plan(self, start: RoundStart) -> Plan:
        """Choose the draft and gamma of most tokens per second, and which other drafts are to score the round."""
        gamma, draft, reason, asked = self.choose(start)
        return Plan(gamma, draft, reason=reason, score=asked)

    def choose(self, start: RoundStart) -> tuple[int, str | None, str | None, frozenset[str]]:
        """Return what a plan is made of: gamma, draft, reason, and who is to score."""
        self._states = start.drafts
        gammas = start.gammas(self._config.max_gamma)
        if gammas[-1] == 0:
            return 0, None, None, frozenset()
        drafts = self._drafts(start, must_draft=gammas[0] > 0)
        gamma, draft = self._best(start, drafts, gammas)
        reason = None
        if gammas[0] == 0:
            gamma, draft, reason = self._explored(start, drafts, drafting(gammas)[0], gamma, draft)
        asked = frozenset[str]() if self._config.draft else self._scoring_budget.whom(start, draft)
        return gamma, draft, reason, asked

    def observe(self, done: Round) -> None:
        """Count what became of the proposal, and what would have become of those of the drafts that scored."""
        self._scoring_budget.observe(done)
        self._exploration.observe(done, self._plain_s)
        draft = done.plan.draft
        if draft is not None and (done.accepted or done.rejected):
            self.of(draft).observe(done.match_length, done.accepted, refused=done.rejected)
        for name, scores in done.scores.items():
            self.of(name).weigh(self._match_length(name), scores)
        for name, known in self._known.items():
            if name != draft and name not in done.scores:
                known.rest(self._config.idle_discount)
        self._drafting = self._drafting + 1 if done.drafted else 0

    def of(self, draft: str) -> Acceptance:
        """Return what is known of a draft."""
        if draft not in self._known:
            self._known[draft] = self._fresh()
        return self._known[draft]

    def chances(self, draft: str) -> Iterator[float]:
        """Yield the chance of each position of this draft's next proposal: its mean, or a draw."""
        known, match_length = self.of(draft), self._match_length(draft)
        return (
            known.chances(match_length) if self._random is None else known.drawn(match_length, self._random)
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the counts of every draft, whom to ask when, and the state of the generator if there is one."""
        return {
            "policy": "survival",
            "version": VERSION,
            "known": {draft: known.save() for draft, known in self._known.items()},
            "asking": self._scoring_budget.save(),
            "exploration": self._exploration.save(),
            "drafting": self._drafting,
            "random": save_random(self._random) if self._random is not None else [],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over all of it, and go on exactly where the state was taken.

        Raises:
            ValueError: The state is damaged, of another policy or version, or of other options; nothing is changed.
        """
        check_header(state, "survival", VERSION)
        saved = state.get("known")
        if not isinstance(saved, dict):
            raise ValueError("the saved state is damaged: known is not a mapping of drafts")  # noqa: TRY004 - callers are promised ValueError
        known = {str(draft): self._fresh() for draft in saved}
        for draft, counts in saved.items():
            known[str(draft)].load(counts)
        scoring_budget = ScoringBudget(self._config.score_share)
        scoring_budget.load(state.get("asking"))
        exploration = Exploration()
        exploration.load(state.get("exploration"))
        rounds = int(check_count(state.get("drafting"), "drafting", whole=True))
        random = self._random and read_random(state.get("random"))
        if not self._random:
            check_list(state.get("random"), "random")
        self._known, self._scoring_budget, self._random = known, scoring_budget, random
        self._exploration, self._drafting = exploration, rounds

    def export(self) -> dict[str, float]:
        """Return the discounted counts, one number for each draft, bucket, position and verdict."""
        return export_hazards(
            {
                f"{draft}/{name}": one
                for draft, known in self._known.items()
                for name, one in known.counts.items()
            }
        )

    def absorb(self, statistics: Mapping[str, float]) -> None:
        """Add the counts of another instance; positions beyond `max_gamma` are left out.

        Raises:
            ValueError: A key or a number is not one that `export` writes; nothing is changed.
        """
        entries = [
            (*name.rpartition("/")[::2], position, refused, amount)
            for name, position, refused, amount in read_export(statistics)
        ]
        for draft, name, *_ in entries:
            if not draft or name not in BUCKETS:
                raise ValueError(f"{draft}/{name} is no draft and bucket of this policy")
        for draft, name, position, refused, amount in entries:
            self.of(draft).add(name, position, amount, refused=refused)

    def replace(self, statistics: Mapping[str, float]) -> None:
        """Put the counts of a group in the place of this policy's own.

        Raises:
            ValueError: As `absorb`; nothing is changed.
        """
        before, self._known = self._known, {}
        try:
            self.absorb(statistics)
        except ValueError:
            self._known = before
            raise

    def _explored(
        self, start: RoundStart, drafts: Sequence[str], least: int, gamma: int, draft: str | None
    ) -> tuple[int, str | None, str | None]:
        """Return the plan, or a look at what has not been measured for long: a draft at rest, or plain decoding."""
        costs, context = start.costs, start.context
        self._plain_s = plain_s = costs.verify_s(1, context)
        if gamma:
            age = (
                costs.age(1) if hasattr(costs, "age") else self._drafting
            )  # isinstance(costs, Dated) is slow
            due = self._drafting >= self._config.plain_every or (
                age >= self._config.plain_every
                and self._exploration.due(PLAIN, plain_s - self.token_s, plain_s)
            )
            if due:
                self._exploration.begin(PLAIN, self.token_s)
                return 0, None, "baseline"
            return gamma, draft, None
        for name in drafts:
            price_s = (
                costs.draft_s(name, least, start.drafts[name].lag)
                + costs.verify_s(least + 1, context)
                - plain_s
            )
            if self._exploration.due(name, price_s, plain_s):
                self._exploration.begin(name, plain_s)
                return least, name, "probe"
        return 0, None, None

    def _match_length(self, draft: str) -> int | None:
        state = self._states.get(draft)
        return None if state is None else state.match_length

    def _fresh(self) -> Acceptance:
        options = self._config
        return Acceptance(options.max_gamma, options.discount, options.prior, options.pooling)

    def _drafts(self, start: RoundStart, *, must_draft: bool) -> Sequence[str]:
        """Return the drafts to choose from; those with nothing to propose only where something must be drafted."""
        draft = self._config.draft
        if draft is not None or start.capabilities.draft_switch != "round":
            one = chosen_draft(start, draft)
            every: Iterable[str] = () if one is None else (one,)
        else:
            every = start.drafts
        return [name for name in every if must_draft or start.drafts[name].match_length != 0]

    def _best(
        self, start: RoundStart, drafts: Sequence[str], gammas: Sequence[int]
    ) -> tuple[int, str | None]:
        best, best_draft = 0, None
        best_s = start.costs.verify_s(1, start.context) if gammas[0] == 0 else math.inf
        some = drafting(gammas)
        for draft in drafts:
            gamma, token_s = best_gamma(start, draft, some, self.chances(draft), best_s)
            if gamma:
                best, best_draft, best_s = gamma, draft, token_s
        self.token_s = best_s
        return best, best_draft
