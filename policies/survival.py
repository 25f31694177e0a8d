"""Survival of draft tokens times measured cost: the draft and gamma of least time per token.

The probability of each position to be accepted is learnt as `paceline.policies.acceptance` says, for each draft apart,
and for drafts that tell a match length within buckets of it; the plan is the draft and gamma of least T / E as
`paceline.policies.gamma_scan` finds it, plain decoding included. Choosing a length is no bandit: a round tells what
every smaller gamma would have yielded, and up to its refusal every larger one.

Choosing a draft is none either where drafts can score a round that another one drafted (`Plan.score`): the tokens up
to the first that the idle draft would have got wrong are what it would have had accepted. What is known of a draft that
neither drafts nor scores fades with every round until it is trusted as in the long run, and so may be tried again.
Where the target verifies trees, the chain so found is held against the tree that is worth most by the chances of the
draft's further choices (`paceline.policies.tree_choice`): it must save time to be planned, and half of that to stay.

What is not in use is looked at besides, within a budget of time (see `paceline.policies.exploration`): a draft at rest
by a round of one token, its trees by one of them, and plain decoding after `plain_every` rounds, or when the cost model
says that it is in doubt.

Ours. Per-position acceptance times measured cost is also how SGLang's throughput-aware controller
(https://github.com/sgl-project/sglang/pull/28045) chooses a length; that drafts can be judged without running them
is shown by HedgeSpec (https://arxiv.org/abs/2510.20064). The ACL 2025 paper that `online` follows has neither.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Literal

from pydantic import Field, FiniteFloat

from paceline.core.base_policy import MergeablePolicy
from paceline.core.config.blocks import PolicyConfig
from paceline.core.optional_protocols import BatchPriced
from paceline.core.records import Plan, Requirements
from paceline.core.state.declared import Count, PolicyState, Summed
from paceline.core.trees import leading_firsts
from paceline.policies.acceptance import Acceptance
from paceline.policies.batch_scan import Candidate, DraftPrices, best_gammas
from paceline.policies.exploration import PLAIN, Exploration, tree_of
from paceline.policies.gamma_scan import best_gamma, catch_up_share_s, positive_gammas
from paceline.policies.options import MaxGamma, OnlyDraft, Prior, chosen_draft
from paceline.policies.scoring_budget import ScoringBudget
from paceline.policies.tree_choice import CHAINS_FIRST, MARGIN, PLAIN_FIRST, WIDTH, TreeChoice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from paceline.core.records import DraftState, Round, RoundStart


CHAIN = (0, 1)
"""Nodes and width of a plan that is no tree."""

LEAST_SURVIVAL = 0.01
"""Tokens of a batch that are less likely to be accepted are not thought of: none pays."""


class SurvivalOptions(PolicyConfig):
    """Options: what is learnt, how fast it fades, and what may be tried."""

    max_gamma: MaxGamma = 16
    discount: float = Field(
        default=0.94, gt=0, le=1, description="Weight of what is known, for each further round of evidence."
    )
    prior: Prior = Field(
        default=(2.0, 1.0),
        description="Accepted and refused tokens assumed of a draft nothing is known about, unless it tells how long "
        "its match is.",
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
    max_nodes: int = Field(
        default=32,
        ge=0,
        description="The most draft tokens of a tree, where the target verifies any; 0: chains only.",
    )
    draft: OnlyDraft = None


class SurvivalConfig(SurvivalOptions):
    """Learn how far each draft is accepted, and plan the draft and gamma of most tokens per second."""

    name: Literal["survival"] = "survival"
    sampling: Literal["mean", "thompson"] = Field(
        default="mean", description="Plan by the mean of what is known, or by a draw from its posterior."
    )

    def build(self, seed: int = 0) -> SurvivalPolicy:
        """Return a fresh policy; with `sampling: thompson` its draws follow from `seed`."""
        return SurvivalPolicy(self, random=Random(seed) if self.sampling == "thompson" else None)


@dataclass(slots=True)
class SurvivalState(PolicyState):
    """Knowledge of each draft, and the accounts for scores and for looks at what is not in use.

    Attributes:
        drafting: Rounds in a row of more than one token.
        random: What draws from the posterior; None plans by the mean.
        firsts: Rounds of plain decoding, and of the chains of each draft, as far as they count.
        trees: Knowledge of the trees of each draft.
        branching: Whether the last round that drafted did so in a tree.
    """

    known: Summed[defaultdict[str, Acceptance]]
    scoring: ScoringBudget
    random: Random | None
    exploration: Exploration = field(default_factory=Exploration)
    drafting: Count = 0
    firsts: dict[str, Count] = field(default_factory=partial(defaultdict, int))
    trees: defaultdict[str, TreeChoice] = field(default_factory=partial(defaultdict, TreeChoice))
    branching: bool = False

    def known_first(self, choice: str) -> bool:
        """Tell whether plain decoding, or a draft's chains, are known well enough to be held against trees."""
        return self.firsts.get(choice, 0) >= (PLAIN_FIRST if choice == PLAIN else CHAINS_FIRST)


class SurvivalPolicy(MergeablePolicy[SurvivalState]):
    """Learns from every round about every draft, then plans as if the next round were like them.

    Args:
        config: Its options.
        random: What draws from the posterior; None plans by the mean.

    Attributes:
        max_gamma: The largest gamma considered.
        token_s: Seconds per token expected of the latest choice.
        scorers: The drafts that shall score its round.
        tree: Nodes and width of the latest choice; (0, 1) is a chain.
    """

    requires = Requirements(latency="fused")
    timed = False
    version = 4

    def __init__(self, config: SurvivalOptions, random: Random | None = None) -> None:
        fresh = partial(Acceptance, config.max_gamma, config.discount, config.prior, config.pooling)
        state = SurvivalState(defaultdict(fresh), ScoringBudget(config.score_share), random)
        state.trees = defaultdict(partial(TreeChoice, config.max_gamma, config.discount))
        super().__init__("survival", state)
        self._config = config
        self._drafts: Mapping[str, DraftState] = {}  # when the latest round was planned
        self._idle_discount = config.idle_discount  # of a round of one of the requests that share it
        self._turn = 0  # the request of a batch that looks around in this round
        self._plain_s = 0.0  # what a plain step was thought to take when the latest round was planned
        self.max_gamma = config.max_gamma
        self.token_s = math.inf
        self.scorers: frozenset[str] = frozenset()
        self.tree = CHAIN

    def plan(self, start: RoundStart) -> Plan:
        """Choose the draft and gamma of most tokens per second, and which other drafts are to score the round."""
        gamma, draft, reason = self.choose(start)
        return Plan(gamma, draft, None, reason, self.scorers, True, *self.tree)

    def plan_batch(self, starts: Sequence[RoundStart]) -> list[Plan]:
        """Plan for several requests that share their passes: see `paceline.policies.batch_scan`.

        One request a round, each in its turn, has its idle drafts score, and may be the one that looks at a draft at
        rest; so what all of them together know costs no more than where there is one.
        """
        costs, first = starts[0].costs, starts[0].capabilities
        if not isinstance(costs, BatchPriced) or first.gammas is not None or not first.zero_gamma:
            return [self.plan(start) for start in starts]
        self._turn = (self._turn + 1) % len(starts)
        looking = starts[self._turn]
        self._drafts, self._idle_discount = looking.drafts, self._config.idle_discount ** (1.0 / len(starts))
        self._plain_s = costs.verify_s(1, looking.context)
        candidates, prices = self._batch_candidates(starts, costs)
        passes_s, context_s = costs.pass_s(sum(len(each.survivals) for each in candidates))
        plain_s = passes_s[0] + context_s
        rate = len(starts) / plain_s if plain_s > 0.0 else 0.0
        gammas, self.token_s = best_gammas(len(starts), candidates, prices, passes_s, context_s, rate)
        drafts = {each.request: each.draft for each in candidates}
        plans = [Plan(0)] * len(starts)
        for index, gamma in gammas.items():
            plans[index] = Plan(gamma, drafts[index], use_signals=False)
        longest = max(gammas.values(), default=0)
        names = self._candidates(looking, must_draft=False) if looking.budget else ()
        gamma, draft, reason = self._explored(looking, names, 1, longest, drafts.get(self._turn))
        if reason == "baseline":
            return [Plan(0, reason=reason)] * len(starts)
        if reason is not None:
            plans[self._turn] = Plan(gamma, draft, reason=reason, use_signals=False)
        mine = plans[self._turn]
        scorers = frozenset() if self._config.draft else self.state.scoring.select(looking, mine.draft)
        if scorers:
            plans[self._turn] = Plan(mine.gamma, mine.draft, None, mine.reason, scorers, use_signals=False)
        return plans

    def _batch_candidates(
        self, starts: Sequence[RoundStart], costs: BatchPriced
    ) -> tuple[list[Candidate], dict[str, DraftPrices]]:
        """Return the requests that may draft, each with the draft that is worth most to it, and what drafts cost."""
        requests, least_s = len(starts), self.token_s if self.token_s < math.inf else 0.0
        prices: dict[str, DraftPrices] = {}
        known: dict[tuple[str, int | None], list[float]] = {}
        values: dict[tuple[str, int | None], float] = {}
        candidates = []
        for index, start in enumerate(starts):
            best: tuple[float, str, list[float]] | None = None
            for draft in self._candidates(start, must_draft=False) if start.budget > 0 else ():
                key = draft, start.drafts[draft].match_length
                if key not in known:
                    if draft not in prices:
                        prices[draft] = DraftPrices(*costs.draft_pass_s(draft))
                    step_s, token_s = prices[draft]
                    price_s = step_s / requests + token_s
                    least = price_s / least_s if least_s > 0.0 else 0.0
                    known[key] = survivals = self._survivals(*key)
                    values[key] = sum(survival - least for survival in survivals if survival > least)
                if best is None or values[key] > best[0]:
                    best = values[key], draft, known[key]
            if best is not None:
                _, draft, survivals = best
                lag = start.drafts[draft].lag
                once_s = 0.0
                if lag > 1:
                    catch_up_s = start.costs.draft_s(draft, 1, lag) - start.costs.draft_s(draft, 1)
                    once_s = catch_up_s * (1.0 + survivals[0]) / (start.budget + 1)
                candidates.append(Candidate(index, draft, survivals[: start.budget], once_s))
        return candidates, prices

    def _survivals(self, draft: str, match_length: int | None) -> list[float]:
        """Return the probability that a draft's first token is accepted, its first two, and so on."""
        known, random = self.state.known[draft], self.state.random
        probs = known.acceptance_probs(match_length) if random is None else known.sample(match_length, random)
        survivals, stands = [], 1.0
        for prob in probs:
            stands *= prob
            if stands < LEAST_SURVIVAL:
                break
            survivals.append(stands)
        return survivals or [0.0]

    def choose(self, start: RoundStart) -> tuple[int, str | None, str | None]:
        """Return gamma, draft, and why these if they are not the best."""
        self._drafts, self._idle_discount = start.drafts, self._config.idle_discount
        gammas = start.gammas(self.max_gamma)
        self.tree = CHAIN
        if gammas[-1] == 0:
            self.scorers = frozenset()
            return 0, None, None
        plain, drafted_gammas = gammas[0] == 0, positive_gammas(gammas)
        drafts = self._candidates(start, must_draft=not plain)
        plain_s = math.inf
        if plain:
            self._plain_s = plain_s = start.costs.verify_s(1, start.context)
        gamma, draft = self._best(start, drafts, drafted_gammas, plain_s)
        reason = None
        if plain:
            gamma, draft, reason = self._explored(start, drafts, drafted_gammas[0], gamma, draft)
        if start.capabilities.nodes and self._config.max_nodes and reason is None:
            gamma, draft, reason = self._branched(start, drafts, gammas[-1], gamma, draft)
        self.scorers = frozenset() if self._config.draft else self.state.scoring.select(start, draft)
        return gamma, draft, reason

    def observe(self, done: Round) -> None:
        """Count what became of the proposal, and what would have become of those of the drafts that scored."""
        state = self.state
        state.scoring.observe(done)
        state.exploration.observe(done, self._plain_s)
        draft = done.plan.draft
        accepted, refused = done.accepted, done.rejected
        if done.plan.nodes and draft is not None:
            state.trees[draft].observe(done)
            if done.tree is not None:
                accepted, refused = leading_firsts(done)
        elif state.firsts.get(draft or PLAIN, 0) < CHAINS_FIRST:
            state.firsts[draft or PLAIN] += 1
        if draft is not None and (accepted or refused):
            state.known[draft].observe(done.match_length, accepted, refused=refused)
        if done.drafted:
            state.branching = done.tree is not None
        for name, scores in done.scores.items():
            state.known[name].count_scores(self._match_length(name), scores)
        for name, known in state.known.items():
            if name != draft and name not in done.scores:
                known.rest(self._idle_discount)
        state.drafting = state.drafting + 1 if done.drafted else 0

    def acceptance_probs(self, draft: str) -> Iterator[float]:
        """Yield the probability of each position of this draft's next proposal: its mean, or a draw."""
        known, match_length = self.state.known[draft], self._match_length(draft)
        random = self.state.random
        return known.acceptance_probs(match_length) if random is None else known.sample(match_length, random)

    def _explored(
        self, start: RoundStart, drafts: Sequence[str], least: int, gamma: int, draft: str | None
    ) -> tuple[int, str | None, str | None]:
        """Return the plan, or a look at what has not been measured for long: a draft at rest, or plain decoding."""
        costs, plain_s, state = start.costs, self._plain_s, self.state
        if gamma:
            # isinstance(costs, Dated) would take longer than the answer
            age = costs.age(1) if hasattr(costs, "age") else state.drafting
            due = state.drafting >= self._config.plain_every or (
                age >= self._config.plain_every
                and state.exploration.due(PLAIN, plain_s - self.token_s, plain_s)
            )
            if due:
                state.exploration.begin(PLAIN, self.token_s)
                return 0, None, "baseline"
            return gamma, draft, None
        for name in drafts:
            price_s = (
                costs.draft_s(name, least, start.drafts[name].lag)
                + costs.verify_s(least + 1, start.context)
                - plain_s * (1.0 + next(self.acceptance_probs(name)))
            )
            if state.exploration.due(name, price_s, plain_s):
                state.exploration.begin(name, plain_s)
                return least, name, "probe"
        return 0, None, None

    def _branched(
        self, start: RoundStart, drafts: Sequence[str], deepest: int, gamma: int, draft: str | None
    ) -> tuple[int, str | None, str | None]:
        """Return the plan, or a tree that takes less time a token, or a look at what has not been tried for long."""
        state, most = self.state, min(self._config.max_nodes, start.capabilities.nodes)
        chain, chain_s = draft, self.token_s
        best_s = chain_s * (1.0 - (0.5 * MARGIN if state.branching else MARGIN))
        looks: list[tuple[float, int, str, tuple[int, int]]] = []
        for name in drafts:
            if state.known_first(name):
                depth, nodes, token_s = state.trees[name].best(
                    start, name, self.acceptance_probs(name), most, deepest
                )
                token_s += catch_up_share_s(start, name)
                if nodes:
                    looks.append((token_s, depth, name, (nodes, WIDTH)))
        if not looks:
            return gamma, draft, None
        token_s, depth, name, tree = min(looks)
        if token_s < best_s:
            if self._plain_s and not state.known_first(PLAIN):
                # What chains and trees are held against would never be found to be better than both.
                return 0, None, "baseline"
            gamma, draft, self.tree, self.token_s = depth, name, tree, token_s
            if chain is not None and self._look(chain, chain_s, token_s, start):
                self.tree = CHAIN
                return positive_gammas(start.gammas(self.max_gamma))[0], chain, "probe"
        elif chain is not None and self._look(tree_of(name), token_s, chain_s, start):
            self.tree = tree
            return depth, name, "probe"
        return gamma, draft, None

    def _look(self, choice: str, token_s: float, best_s: float, start: RoundStart) -> bool:
        """Tell whether to look at a choice that takes `token_s` a token in the place of `best_s`, and begin to."""
        exploration = self.state.exploration
        tokens = start.costs.verify_s(1, start.context) / best_s  # about those of a round
        if not self._plain_s or not exploration.due(choice, (token_s - best_s) * tokens, self._plain_s):
            return False
        exploration.begin(choice, best_s)
        return True

    def _match_length(self, draft: str) -> int | None:
        state = self._drafts.get(draft)
        return None if state is None else state.match_length

    def _candidates(self, start: RoundStart, *, must_draft: bool) -> Sequence[str]:
        """Return the drafts to choose from; those with nothing to propose only where something must be drafted."""
        draft = self._config.draft
        if draft is not None or start.capabilities.draft_switch != "round":
            only = chosen_draft(start, draft)
            listed: Iterable[str] = () if only is None else (only,)
        else:
            listed = start.drafts
        return [name for name in listed if must_draft or start.drafts[name].match_length != 0]

    def _best(
        self, start: RoundStart, drafts: Sequence[str], gammas: Sequence[int], best_s: float
    ) -> tuple[int, str | None]:
        """Return the draft and gamma of least time per token, if any takes less than `best_s`."""
        best, best_draft = 0, None
        for draft in drafts:
            gamma, token_s = best_gamma(start, draft, gammas, self.acceptance_probs(draft), best_s)
            if gamma:
                best, best_draft, best_s = gamma, draft, token_s
        self.token_s = best_s
        return best, best_draft
