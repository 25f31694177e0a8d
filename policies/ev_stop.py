"""Stop drafting where one more token is no longer worth its time: optimal stopping with the estimates of `survival`.

`survival` chooses the draft and what may be expected of it. While that draft goes on, the probability that it gives
to each of its tokens tells more: with c_k the probability that token k is accepted in the light of that (see
`paceline.policies.calibration`), everything so far stands with probability S = c_1 ... c_k. Drafting on to a length
g > k adds

    S a_(k+1) + S a_(k+1) a_(k+2) + ...  tokens, up to a_g,  and  T(g) - T(k)  seconds,

where a are the acceptance probabilities of `survival` and T the time of a round. By renewal reward, time is worth the
tokens per second that are delivered on the whole, rho; so drafting goes on if for some g the tokens exceed rho (T(g) -
T(k)). That is the threshold rule of SpecDec++ (https://arxiv.org/abs/2405.19715, Theorem 3.1), with probabilities
counted in place of a trained head, measured costs, and several tokens of foresight, since verification times have
steps. The combination is ours.

A draft that delivers no probabilities, such as prompt lookup, drafts what `survival` plans. The acceptance
probabilities of deep positions are learnt from rounds that the rule let go so far, the promising ones: they hold given
that it did.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from paceline.core.base_policy import MergeablePolicy
from paceline.core.records import Plan, Requirements
from paceline.core.state.declared import PolicyState
from paceline.policies.calibration import Calibration
from paceline.policies.signal_cost_gate import SignalCostGate
from paceline.policies.survival import SurvivalOptions, SurvivalPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.records import Round, RoundStart, Signal, TokenSignals

FORESIGHT = 4  # tokens; further ones would have to outweigh all of these


class EvStopConfig(SurvivalOptions):
    """Plan by survival, and stop drafting where the next token is not worth its time."""

    name: Literal["ev-stop"] = "ev-stop"
    listen: Literal["always", "measured"] = Field(
        default="always", description="Look at probabilities in every round, or where that pays as measured."
    )

    def build(self, seed: int = 0) -> EvStopPolicy:
        """Return a fresh policy."""
        gate = SignalCostGate() if self.listen == "measured" else None
        return EvStopPolicy(self.name, SurvivalPolicy(self), gate)


@dataclass(slots=True)
class EvStopState(PolicyState):
    """Evidence in the probabilities of each draft, and the time that looking at them takes."""

    calibrations: defaultdict[str, Calibration]
    gate: SignalCostGate


class EvStopPolicy(MergeablePolicy[EvStopState]):
    """Weighs each further token of a draft against what the time would bring elsewhere.

    Args:
        name: Under which its state is saved.
        survival: Chooses draft and length.
        gate: Decides when to look at probabilities; None looks in every round.
    """

    needs: frozenset[Signal] = frozenset({"prob"})
    requires = Requirements(latency="fused")
    timed = False
    version = 3

    def __init__(self, name: str, survival: SurvivalPolicy, gate: SignalCostGate | None = None) -> None:
        super().__init__(name, EvStopState(defaultdict(Calibration), gate or SignalCostGate()))
        self.survival = survival
        self._gated = gate is not None
        self._start: RoundStart | None = None
        self._plan = Plan(0)
        self._acceptance_probs: list[float] = []
        self._stands = 1.0
        self._drafted = 0

    def held(self) -> Mapping[str, SurvivalPolicy]:
        """Return what chooses draft and length."""
        return {"survival": self.survival}

    @property
    def merging(self) -> SurvivalPolicy:
        """The one whose counts of acceptance are merged; times and probabilities are this machine's own."""
        return self.survival

    def plan(self, start: RoundStart) -> Plan:
        """Plan as `survival` does, and leave the end open where the draft is known to tell its probabilities."""
        gamma, draft, reason = self.survival.choose(start)
        nodes, width = self.survival.tree
        if nodes:
            # What the probabilities of a level say is not weighed: a tree is drafted as planned.
            self._start = None
            return Plan(gamma, draft, None, reason, self.survival.scorers, False, nodes, width)
        use_signals = draft is None or not self._gated or self.state.gate.worth_it(start, draft)
        if use_signals and draft in self.state.calibrations:
            gamma = start.gammas(self.survival.max_gamma)[-1]
        self._plan = Plan(gamma, draft, reason=reason, score=self.survival.scorers, use_signals=use_signals)
        self._start, self._acceptance_probs = start, []
        self._stands, self._drafted = 1.0, 0
        return self._plan

    def plan_batch(self, starts: Sequence[RoundStart]) -> list[Plan]:
        """Plan for several requests that share their passes as `survival` does, without a look at probabilities."""
        self._start = None
        return self.survival.plan_batch(starts)

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Tell whether some further tokens are worth more than their time."""
        start, plan = self._start, self._plan
        if start is None or plan.draft is None or signals.prob is None:
            return True
        calibration = self.state.calibrations.get(plan.draft)
        if calibration is None:
            return True
        acceptance_probs = self._expected(plan.draft)
        if self._drafted >= len(acceptance_probs):
            return False
        self._stands *= calibration.acceptance_prob(acceptance_probs[self._drafted], signals.prob)
        self._drafted += 1
        return self._worth_it(start, plan.draft, plan.gamma)

    def observe(self, done: Round) -> None:
        """Learn what became of the tokens, and what their probabilities said about it."""
        self._start = None
        draft = done.plan.draft
        probs = [token.prob for token in done.signals if token.prob is not None]
        if draft is not None and probs and len(probs) == done.drafted:
            self.state.calibrations[draft].observe(
                probs, self._expected(draft), done.accepted, refused=done.rejected
            )
        if self._gated:
            self.state.gate.observe(done)
        self.survival.observe(done)

    def _expected(self, draft: str) -> list[float]:
        """Return the probability of each position as it was expected when the round was planned."""
        if not self._acceptance_probs:
            self._acceptance_probs = list(self.survival.acceptance_probs(draft))
        return self._acceptance_probs

    def _worth_it(self, start: RoundStart, draft: str, gamma: int) -> bool:
        """Tell whether drafting on, for one token or a few, brings more than the same time does on the whole."""
        costs, context, drafted = start.costs, start.context, self._drafted
        spent_s = costs.draft_s(draft, drafted) + costs.verify_s(drafted + 1, context)
        stands, more = self._stands, 0.0
        for longer in range(drafted + 1, min(gamma, drafted + FORESIGHT, len(self._acceptance_probs)) + 1):
            stands *= self._acceptance_probs[longer - 1]
            more += stands
            round_s = costs.draft_s(draft, longer) + costs.verify_s(longer + 1, context)
            # rho is 1 / token_s: tokens over seconds per token.
            if more * self.survival.token_s > round_s - spent_s:
                return True
        return False
