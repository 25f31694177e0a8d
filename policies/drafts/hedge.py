"""The draft that would have been best on the tokens just verified: every draft is judged, not only the one that ran.

The method is HedgeSpec ("Not-a-Bandit", https://arxiv.org/abs/2510.20064). Which draft would have agreed with the
text can be computed afterwards for all of them, by letting them read the tokens the target delivered. So choosing a
draft is learning from experts' advice with full information, not a bandit. For draft i with scores g the expected
tokens of a round of gamma tokens is the mean of

    L_i(gamma) = sum over k of k (1 - g_k) prod over j < k of g_j     (see `survival`)

over the places of a fading window of text; with T_i(gamma) its draft and verify seconds the loss of a trial is

    f_i = 1 - (L_i / T_i at i's best gamma) / (the same of the best draft)

and Hedge with fixed share (see `weights`) keeps the weight of each. The draft of most weight runs.

From the source: full information, the estimate of L, Hedge. From elsewhere: time in the loss, fixed share. Ours:
each draft is judged at its own best gamma instead of one for all; the text is scored no more often than `overhead`
allows (see `paceline.policies.scoring_budget`), and drafts that were not scored sleep; the draft that ran is scored by
its verdict, which does not tell of the token after a full acceptance; tokens without a score are left out, as if the
text went on without them; a change of draft has to earn back the price of catching up; a draft that says it
has nothing to propose is passed over for the round, and so it is judged by the rounds in which it had.
"""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from paceline.core.config.blocks import PolicyConfig
from paceline.core.config.resolve import AnyPolicy
from paceline.core.records import Plan
from paceline.policies.best_gamma import best_gamma
from paceline.policies.candidates import LARGEST, drafting
from paceline.policies.catch_up import catch_up_share_s
from paceline.policies.drafts.selector import Selector, choosable, proposing
from paceline.policies.drafts.survival import Survival, read_survival
from paceline.policies.drafts.weights import Weights
from paceline.policies.scoring_budget import ScoringBudget
from paceline.policies.state import check_count, check_header, check_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from paceline.core.records import Round, RoundStart

VERSION = 1


class HedgeConfig(PolicyConfig):
    """Let every draft score the delivered tokens, and run the one that would have been fastest; another plans gamma."""

    name: Literal["hedge"] = "hedge"
    length: AnyPolicy = Field(
        default="online", validate_default=True, description="Policy that plans gamma, one for each draft."
    )
    window: int = Field(
        default=32, ge=1, description="Tokens of text that drafts are judged by; older ones fade."
    )
    max_gamma: int = Field(
        default=16, ge=1, le=LARGEST, description="The largest gamma considered when drafts compete."
    )
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


class HedgePolicy(Selector):
    """Judges the drafts when a round is over, at the costs that are known by then, and plans by the verdict."""

    def __init__(self, config: HedgeConfig, seed: int = 0) -> None:
        super().__init__(config.length, seed, chooses="round", latency="fused")
        self._config = config
        self._seed = seed
        self._keep = 1.0 - 1.0 / config.window
        self._scoring_budget = ScoringBudget(config.overhead, at_once=True)
        self._weights = Weights(config.share)
        self._survival: dict[str, Survival] = {}
        self._heard: set[str] = set()  # scored since the last trial
        self._seconds: dict[str, float] = {}  # per token at the best gamma, when last judged
        self._draft: str | None = None
        self._draws = 0
        self._start: RoundStart | None = None  # of the round under way

    def plan(self, start: RoundStart) -> Plan:
        """Choose a draft, and say which others shall score this round."""
        self._start = start
        if start.index == 0:
            for survival in self._survival.values():
                survival.pause()
        draft = self._choose(start) if len(start.drafts) > 1 else next(iter(start.drafts), None)
        self._draft = draft
        if draft is None:
            self._lengths.rest()
            return Plan(0)
        plan = self._lengths.plan(start, draft)
        asked = self._scoring_budget.whom(start, plan.draft)
        return Plan(plan.gamma, plan.draft, plan.stop, plan.reason, plan.score | asked)

    def observe(self, done: Round) -> None:
        """Take in the scores of those that were asked, and the verdict on the one that drafted; then judge them."""
        self._lengths.observe(done)
        self._scoring_budget.observe(done)
        for draft, scores in done.scores.items():
            self._hear(draft, scores)
        if done.plan.draft is not None:
            nothing_found = done.drafted == 0 and done.ended is None
            refused = [0.0] if done.rejected or nothing_found else []
            self._hear(done.plan.draft, [1.0] * done.accepted + refused)
        start, self._start = self._start, None
        if start is not None and len(self._heard) > 1:
            self._judge(start)

    def state_dict(self) -> dict[str, Any]:
        """Return the weights, the window of each draft, the accounts, and the states of the length policies."""
        return {
            "policy": "hedge",
            "version": VERSION,
            "weights": dict(self._weights.known),
            "trials": self._weights.trials,
            "survival": {draft: survival.save() for draft, survival in self._survival.items()},
            "heard": sorted(self._heard),
            "seconds": dict(self._seconds),
            "draft": self._draft or "",
            "draws": self._draws,
            "asking": self._scoring_budget.save(),
            "lengths": self._lengths.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what was learnt.

        Raises:
            ValueError: The state is damaged, of another policy or version, or of another `max_gamma`; nothing is
                changed.
        """
        check_header(state, "hedge", VERSION)
        weights = Weights(self._config.share)
        weights.known = _numbers(state.get("weights"), "weights")
        weights.trials = float(check_count(state.get("trials"), "trials"))
        saved, draft = state.get("survival"), state.get("draft")
        if not isinstance(saved, dict) or not isinstance(draft, str):
            raise ValueError("the saved state is damaged: survival is not a mapping, or draft is no text")  # noqa: TRY004 - callers are promised ValueError
        survival = {
            str(name): read_survival(one, self._config.max_gamma, f"the window of draft {name!r}")
            for name, one in saved.items()
        }
        names = check_list(state.get("heard"), "heard")
        if not all(isinstance(name, str) and name in survival for name in names):
            raise ValueError("the saved state is damaged: heard names drafts without a window")
        heard = set(names)
        seconds = _numbers(state.get("seconds"), "seconds")
        draws = int(check_count(state.get("draws"), "draws", whole=True))
        scoring_budget = ScoringBudget(self._config.overhead, at_once=True)
        scoring_budget.load(state.get("asking"))
        self._lengths.load_state_dict(state.get("lengths"))
        self._weights, self._survival, self._heard, self._seconds = weights, survival, heard, seconds
        self._draft, self._draws, self._scoring_budget = draft or None, draws, scoring_budget

    def _hear(self, draft: str, scores: Iterable[float]) -> None:
        if draft not in self._survival:
            self._survival[draft] = Survival(self._config.max_gamma)
        survival = self._survival[draft]
        for score in scores:
            survival.add(score, self._keep)
            self._heard.add(draft)

    def _judge(self, start: RoundStart) -> None:
        """Hold a trial among the drafts that were scored since the last one, if there are two of them."""
        awake = [draft for draft in start.drafts if draft in self._heard]
        gammas = drafting(start.gammas(self._config.max_gamma))
        if len(awake) < 2 or not gammas or gammas[-1] == 0:
            return
        for draft in awake:
            chances = self._survival[draft].chances()
            self._seconds[draft] = best_gamma(start, draft, gammas, chances, math.inf, lagging=False)[1]
        best_s = min(self._seconds[draft] for draft in awake)
        losses = {
            draft: 1.0 - best_s / self._seconds[draft] if self._seconds[draft] > best_s else 0.0
            for draft in awake
        }
        self._weights.update(losses, start.drafts)
        self._heard.clear()

    def _choose(self, start: RoundStart) -> str | None:
        """Return the draft of most weight, or the one that runs where a change costs more; or one drawn by weight."""
        drafts = proposing(start, choosable(start, self._draft))
        if self._config.sample:
            return self._drawn(drafts)
        best = max(drafts, key=self._weights.of)
        running = self._draft
        if running is None or running not in drafts or not {best, running} <= self._seconds.keys():
            return best
        seconds = {draft: self._seconds[draft] + catch_up_share_s(start, draft) for draft in (running, best)}
        return min((running, best), key=seconds.__getitem__)

    def _drawn(self, drafts: Sequence[str]) -> str:
        random = Random(f"{self._seed}/{self._draws}")
        self._draws += 1
        return random.choices(drafts, [self._weights.of(draft) for draft in drafts])[0]


def _numbers(saved: object, what: str) -> dict[str, float]:
    if not isinstance(saved, dict):
        raise ValueError(f"the saved state is damaged: {what} is not a mapping of drafts to numbers")  # noqa: TRY004 - callers are promised ValueError
    return {str(draft): float(check_count(one, f"{what} of draft {draft!r}")) for draft, one in saved.items()}
