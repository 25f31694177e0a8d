"""The draft that would have been best on the tokens just verified: every draft is judged, not only the one that ran.

The method is HedgeSpec ("Not-a-Bandit", https://arxiv.org/abs/2510.20064). Which draft would have agreed with the
text can be computed afterwards for all of them, by letting them read the tokens the target delivered. So choosing a
draft is learning from experts' advice with full information, not a bandit. For draft i with scores g the expected
tokens of a round of gamma tokens is the mean of

    L_i(gamma) = sum over k of k (1 - g_k) prod over j < k of g_j     (see `RunLengths`)

over the places of a fading window of text; with T_i(gamma) its draft and verify seconds the loss of a trial is

    f_i = 1 - (L_i / T_i at i's best gamma) / (the same of the best draft)

and Hedge with fixed share (see `Weights`) keeps the weight of each. The draft of most weight runs.

From the source: full information, the estimate of L, Hedge. From elsewhere: time in the loss, fixed share. Ours:
each draft is judged at its own best gamma instead of one for all; the text is scored no more often than `overhead`
allows (see `paceline.policies.scoring_budget`), and drafts that were not scored sleep; the draft that ran is scored by
its verdict, which does not tell of the token after a full acceptance; tokens without a score are left out, as if the
text went on without them; a change of draft has to earn back the price of catching up; a draft that says it
has nothing to propose is passed over for the round, and so it is judged by the rounds in which it had.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from math import exp, log, sqrt
from random import Random
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from paceline.core.config.blocks import PolicyConfig
from paceline.core.records import Plan
from paceline.core.state.declared import Amount, Count, PolicyState, Share, Unsaved
from paceline.policies.composition import DraftSelector, available_drafts, drafts_with_proposals
from paceline.policies.gamma_scan import best_gamma, catch_up_share_s, positive_gammas
from paceline.policies.options import LengthPolicy, MaxGamma
from paceline.policies.scoring_budget import ScoringBudget

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from paceline.core.records import Round, RoundStart


@dataclass(slots=True)
class RunLengths(PolicyState):
    """Fading sums of Q_1, ..., Q_size.

    With g_1, g_2, ... the probabilities that the draft's token is accepted at consecutive places of the text, a block
    of K tokens that starts at place t yields

        L_t = sum over k = 1..K+1 of k (1 - g_(t+k-1)) prod over j < k of g_(t+j-1),     the (K+1)-th g being 0

    tokens, the target's own included (HedgeSpec, https://arxiv.org/abs/2510.20064). Summed by parts that is 1 + Q_1 +
    ... + Q_K, where Q_k is the product of k scores from t on. So the mean of L over all t, for every K at once, needs
    only the mean of Q_k for each k. Here it is a fading mean: a token weighs 1 - 1/window times what its successor
    does.

    Attributes:
        products: Q_k of the last k tokens, for as many as there are in a row.
        sums: Of the Q_k, faded.
        counts: How many tokens each sum is over, faded alike.
    """

    size: Unsaved[int]
    products: list[Share] = field(default_factory=list)
    sums: list[Amount] = field(init=False)
    counts: list[Amount] = field(init=False)

    def __post_init__(self) -> None:
        self.sums = [0.0] * self.size
        self.counts = [0.0] * self.size

    def check(self) -> None:
        """Check that no more products are there than are counted."""
        if len(self.products) > self.size:
            raise ValueError(f"the saved state is of other options: there are more than {self.size} products")

    def add(self, score: float, keep: float) -> None:
        """Take in the score of the next token; what was before weighs `keep` times as much from now on."""
        sums, counts = self.sums, self.counts
        products = [score]
        products += [score * product for product in self.products[: len(sums) - 1]]
        for k, product in enumerate(products):
            sums[k] = sums[k] * keep + product
            counts[k] = counts[k] * keep + 1.0
        self.products = products

    def pause(self) -> None:
        """The next token does not follow the last one: another text begins."""
        self.products = []

    def tokens(self, gamma: int) -> float:
        """Return the mean of L for blocks of `gamma` tokens."""
        survival, tokens = 1.0, 1.0
        acceptance_probs = self.acceptance_probs()
        for _ in range(gamma):
            survival *= next(acceptance_probs, 0.0)
            tokens += survival
        return tokens

    def acceptance_probs(self) -> Iterator[float]:
        """Yield the probability that token k = 1, 2, ... is accepted once it is reached: Q_k / Q_(k-1), at most 1.

        Where no k tokens in a row were seen yet, the probability of the first one stands in.
        """
        before = 1.0
        for total, count in zip(self.sums, self.counts, strict=True):
            if count <= 0.0:
                first = self.sums[0] / self.counts[0] if self.counts[0] else 0.0
                yield first
                continue
            mean = total / count
            yield min(mean / before, 1.0) if before > 0.0 else 0.0
            before = min(mean, before)


MIN_WEIGHT = 1e-12  # with a share of 0 nothing else keeps a weight from vanishing for good


@dataclass(slots=True)
class Weights(PolicyState):
    """The weights of experts, by name, 1 on average.

    After a trial with losses f_i in 0..1 (Freund and Schapire 1997; the rate as in Cesa-Bianchi and Lugosi 2006,
    section 2.3; the share after Herbster and Warmuth 1998)

        w_i <- w_i exp(-eta f_i),     eta = sqrt(8 ln N / t),     w_i <- (1 - s) w_i + s mean(w)

    The share s keeps every expert within reach of a comeback and forgets over about 1/s trials, so t counts no further
    than that: a rate that went on falling would make comebacks slower for ever. Experts whose loss is not known sleep
    (Freund et al. 1997): those awake divide among themselves the weight they had, and the sleepers keep theirs.

    Attributes:
        share: s.
        trials: t.
        known: The weights of those that took part in a trial.
    """

    share: Unsaved[float]
    trials: Amount = 0.0
    known: dict[str, Amount] = field(default_factory=partial(defaultdict, float))

    def of(self, expert: str) -> float:
        """Return the weight of an expert."""
        return self.known.get(expert, 1.0)

    def update(self, losses: Mapping[str, float], experts: Iterable[str]) -> None:
        """Move the weights of all `experts` after a trial whose losses are known of two or more of them."""
        everyone = list(experts)
        self.trials = min(self.trials + 1.0, 1.0 / self.share) if self.share else self.trials + 1.0
        eta = sqrt(8.0 * log(len(everyone)) / self.trials)
        before = sum(map(self.of, losses))
        moved = {expert: self.of(expert) * exp(-eta * loss) for expert, loss in losses.items()}
        scale = before / sum(moved.values())
        self.known.update({expert: max(weight * scale, MIN_WEIGHT) for expert, weight in moved.items()})
        mean = sum(map(self.of, everyone)) / len(everyone)
        for expert in everyone:
            self.known[expert] = (1.0 - self.share) * self.of(expert) + self.share * mean


class HedgeConfig(PolicyConfig):
    """Let every draft score the delivered tokens, and run the one that would have been fastest; another plans gamma."""

    name: Literal["hedge"] = "hedge"
    length: LengthPolicy = Field(default="online", validate_default=True)
    window: int = Field(
        default=32, ge=1, description="Tokens of text that drafts are judged by; older ones fade."
    )
    max_gamma: MaxGamma = Field(default=16, description="The largest gamma considered when drafts compete.")
    share: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Part of the weights dealt out anew each trial, for texts that change.",
    )
    overhead: float = Field(
        default=0.02,
        gt=0,
        le=1,
        description="Part of the time that scoring by each idle draft may take; prompt lookup is free.",
    )
    sample: bool = Field(
        default=False, description="Draw the draft by weight instead of taking the best one."
    )

    def build(self, seed: int = 0) -> HedgePolicy:
        """Return a fresh policy."""
        return HedgePolicy(self, seed)


@dataclass(slots=True)
class HedgeState(PolicyState):
    """The weights, and what the drafts are judged by.

    Attributes:
        scored: The drafts scored since the last trial.
        seconds: Per token at the best gamma of each draft, when last judged.
        draft: The one that runs.
    """

    weights: Weights
    scoring: ScoringBudget
    run_lengths: defaultdict[str, RunLengths]
    scored: set[str] = field(default_factory=set)
    seconds: dict[str, Amount] = field(default_factory=partial(defaultdict, float))
    draft: str | None = None
    draws: Count = 0

    def check(self) -> None:
        """Check that what was heard was counted."""
        if not self.scored <= self.run_lengths.keys():
            raise ValueError("the saved state is damaged: scored names drafts without run lengths")


class HedgePolicy(DraftSelector[HedgeState]):
    """Judges the drafts when a round is over, at the costs that are known by then, and plans by the verdict."""

    version = 2

    def __init__(self, config: HedgeConfig, seed: int = 0) -> None:
        state = HedgeState(
            Weights(config.share),
            ScoringBudget(config.overhead, at_once=True),
            defaultdict(partial(RunLengths, config.max_gamma)),
        )
        super().__init__("hedge", state, config.length, seed, chooses="round", latency="fused")
        self._config = config
        self._seed = seed
        self._keep = 1.0 - 1.0 / config.window
        self._start: RoundStart | None = None  # of the round under way

    def plan(self, start: RoundStart) -> Plan:
        """Choose a draft, and say which others shall score this round."""
        self._start = start
        if start.index == 0:
            for run_lengths in self.state.run_lengths.values():
                run_lengths.pause()
        draft = self._choose(start) if len(start.drafts) > 1 else next(iter(start.drafts), None)
        self.state.draft = draft
        if draft is None:
            self._lengths.rest()
            return Plan(0)
        plan = self._lengths.plan(start, draft)
        scorers = self.state.scoring.select(start, plan.draft)
        return Plan(
            plan.gamma,
            plan.draft,
            plan.stop,
            plan.reason,
            plan.score | scorers,
            nodes=plan.nodes,
            width=plan.width,
        )

    def observe(self, done: Round) -> None:
        """Take in the scores of those that were asked, and the verdict on the one that drafted; then judge them."""
        self._lengths.observe(done)
        self.state.scoring.observe(done)
        for draft, scores in done.scores.items():
            self._count_scores(draft, scores)
        if done.plan.draft is not None:
            nothing_found = done.drafted == 0 and done.ended is None
            refused = [0.0] if done.rejected or nothing_found else []
            self._count_scores(done.plan.draft, [1.0] * done.accepted + refused)
        start, self._start = self._start, None
        if start is not None and len(self.state.scored) > 1:
            self._hold_trial(start)

    def _count_scores(self, draft: str, scores: Iterable[float]) -> None:
        run_lengths = self.state.run_lengths[draft]
        for score in scores:
            run_lengths.add(score, self._keep)
            self.state.scored.add(draft)

    def _hold_trial(self, start: RoundStart) -> None:
        """Hold a trial among the drafts that were scored since the last one, if there are two of them."""
        awake = [draft for draft in start.drafts if draft in self.state.scored]
        gammas = positive_gammas(start.gammas(self._config.max_gamma))
        if len(awake) < 2 or not gammas or gammas[-1] == 0:
            return
        for draft in awake:
            acceptance_probs = self.state.run_lengths[draft].acceptance_probs()
            self.state.seconds[draft] = best_gamma(
                start, draft, gammas, acceptance_probs, math.inf, lagging=False
            )[1]
        best_s = min(self.state.seconds[draft] for draft in awake)
        losses = {
            draft: 1.0 - best_s / self.state.seconds[draft] if self.state.seconds[draft] > best_s else 0.0
            for draft in awake
        }
        self.state.weights.update(losses, start.drafts)
        self.state.scored.clear()

    def _choose(self, start: RoundStart) -> str | None:
        """Return the draft of most weight, or the one that runs where a change costs more; or one drawn by weight."""
        drafts = drafts_with_proposals(start, available_drafts(start, self.state.draft))
        if self._config.sample:
            return self._drawn(drafts)
        best = max(drafts, key=self.state.weights.of)
        running = self.state.draft
        if running is None or running not in drafts or not {best, running} <= self.state.seconds.keys():
            return best
        seconds = {
            draft: self.state.seconds[draft] + catch_up_share_s(start, draft) for draft in (running, best)
        }
        return min((running, best), key=seconds.__getitem__)

    def _drawn(self, drafts: Sequence[str]) -> str:
        random = Random(f"{self._seed}/{self.state.draws}")
        self.state.draws += 1
        return random.choices(drafts, [self.state.weights.of(draft) for draft in drafts])[0]
