"""Analytical gamma: estimate the accuracy of a draft token online, then maximise tokens per second.

The method is section 4.1 of "A Drop-In Solution for On-the-Fly Adaptation of Speculative Decoding in Large
Language Models" (ACL 2025, https://aclanthology.org/2025.acl-long.482). With accuracy Acc, a the seconds of one
draft token and b(gamma) the seconds of verifying a block, Definition 1 and Eq 1 choose

    gamma* = argmax (1 - Acc^(gamma+1)) / ((1 - Acc) (gamma a + b(gamma)))

and Eq 2 estimates Acc over the last h rounds, V_i tokens accepted out of gamma_i, as

    Acc = sum V_i / (sum V_i + sum [V_i < gamma_i]),    at most Acc_max.

V is geometric and censored at gamma, so Eq 2 is the maximum likelihood estimate whatever chose the gammas. The
numerator of Eq 1 is the expected number of tokens of a round, the target's own included (Leviathan et al. 2023,
https://arxiv.org/abs/2211.17192, Eq 1). From the paper: the objective, the estimate, the window, the cap, one
decision before each round. Our reading: the exponent gamma + 1, the values of h and Acc_max, the scan over whole
numbers. Ours: gamma 0 as a candidate, the Beta prior, probes, the first gamma, and the price of a lag.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, FiniteFloat

from paceline.core.base_policy import BasePolicy
from paceline.core.config.blocks import PolicyConfig
from paceline.core.records import Plan, Requirements
from paceline.core.state.declared import Count, PolicyState
from paceline.policies.gamma_scan import catch_up_share_s, largest_at_most, positive_gammas, round_times
from paceline.policies.options import DraftName, MaxGamma, chosen_draft

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.records import Round, RoundStart

RARER = 8  # probes are this much rarer while even a draft of accuracy Acc_max would not pay


class OnlineConfig(PolicyConfig):
    """Estimate how often draft tokens are accepted, and plan the gamma of most tokens per second."""

    name: Literal["online"] = "online"
    window: int = Field(default=20, ge=1, description="Rounds the accuracy is estimated from (h of Eq 2).")
    max_gamma: MaxGamma = 16
    max_accuracy: float = Field(default=0.95, gt=0, lt=1, description="Cap on the estimate (Acc_max).")
    prior: tuple[Annotated[FiniteFloat, Field(ge=0)], Annotated[FiniteFloat, Field(ge=0)]] | None = Field(
        default=(2.0, 1.0),
        description="Accepted and refused tokens counted on top of the window; null is Eq 2 alone.",
    )
    probe_every: int = Field(
        default=8, ge=1, description="Rounds of gamma 0 before one token is tried again."
    )
    first_gamma: int = Field(default=4, ge=1, description="Gamma while nothing has been observed yet.")
    draft: DraftName = None

    def build(self, seed: int = 0) -> OnlinePolicy:
        """Return a fresh policy."""
        return OnlinePolicy(self)


@dataclass(slots=True)
class OnlineState(PolicyState):
    """The last rounds that told something, and how long nothing was drafted.

    Attributes:
        rounds: Pairs of V and whether V < gamma, 1 or 0.
        quiet: Rounds of gamma 0 since the last refusal.
    """

    rounds: deque[tuple[Count, Count]]
    quiet: Count = 0


class OnlinePolicy(BasePolicy[OnlineState]):
    """Eq 2, then Eq 1, once before each round."""

    requires = Requirements(latency="fused")

    def __init__(self, config: OnlineConfig) -> None:
        super().__init__("online", OnlineState(deque(maxlen=config.window)))
        self._config = config

    def accuracy(self) -> float | None:
        """Return the estimate of Eq 2, prior and cap included; None while nothing has been observed."""
        if not self.state.rounds:
            return None
        right, wrong = self._config.prior or (0.0, 0.0)
        for accepted, refused in self.state.rounds:
            right += accepted
            wrong += refused
        return min(right / (right + wrong), self._config.max_accuracy)

    def plan(self, start: RoundStart) -> Plan:
        """Choose the gamma of most tokens per second; now and then try one token where that is 0."""
        options = self._config
        draft = chosen_draft(start, options.draft)
        gammas = start.gammas(options.max_gamma)
        if draft is None or gammas[-1] == 0:
            return Plan(0)
        accuracy = self.accuracy()
        if accuracy is None:
            return Plan(
                largest_at_most(positive_gammas(gammas), options.first_gamma), draft, reason="warm-up"
            )
        gamma = self.best(start, draft, gammas, accuracy)
        if gamma:
            return Plan(gamma, draft)
        if self.state.quiet >= options.probe_every:
            pays_at_best = self.best(start, draft, gammas, options.max_accuracy) > 0
            if pays_at_best or self.state.quiet >= RARER * options.probe_every:
                return Plan(positive_gammas(gammas)[0], draft, reason="probe")
        return Plan(0)

    def best(self, start: RoundStart, draft: str, gammas: Sequence[int], accuracy: float) -> int:
        """Return the gamma that Eq 1 chooses for an accuracy."""
        return best_gamma(start, draft, gammas, accuracy)

    def observe(self, done: Round) -> None:
        """Remember V and whether V < gamma; a round that shows neither success nor refusal is not data.

        After a probe that succeeds the next round probes again, where a draft of accuracy Acc_max would pay.
        """
        state = self.state
        if done.accepted or done.rejected:
            state.rounds.append((done.accepted, int(done.rejected)))
        if done.rejected:
            state.quiet = 0
        elif done.accepted:
            state.quiet = min(state.quiet, self._config.probe_every)
        elif done.plan.gamma == 0:
            state.quiet += 1


def best_gamma(start: RoundStart, draft: str, gammas: Sequence[int], accuracy: float) -> int:
    """Return the argmax of Eq 1, found as the least time per token; the smallest gamma among equals.

    All of `gammas` are scanned, since verification times with steps make Eq 1 multimodal, but the scan ends where
    no larger gamma can win: its round takes no less time, and yields no more than the largest gamma does.
    """
    rounds_s, context_s = round_times(start, draft, gammas[-1])
    share_s = catch_up_share_s(start, draft)
    most = (1.0 - accuracy ** (gammas[-1] + 1)) / (1.0 - accuracy)
    best, best_s = gammas[0], math.inf
    for gamma in gammas:
        round_s = rounds_s[gamma] + context_s
        token_s = round_s * (1.0 - accuracy) / (1.0 - accuracy ** (gamma + 1))
        if gamma:
            token_s += share_s
        if token_s < best_s:
            best, best_s = gamma, token_s
        elif round_s / most + share_s >= best_s:
            break
    return best
