"""One draft for each request, by a linear model of how accurate each draft will be on such a prompt.

The method is section 5 of "A Drop-In Solution for On-the-Fly Adaptation of Speculative Decoding in Large Language
Models" (ACL 2025, https://aclanthology.org/2025.acl-long.482). A prompt becomes a vector u of its length, its
perplexity and its TF-IDF; the accuracy of draft c on it is modelled as

    alpha_c(u) = u^T Z_c     (Eq 8),     Z_c = (U^T U)^-1 U^T alpha_c     (Eq 10, least squares over prompts seen)

and the draft of most tokens per second wins. With L tokens wanted, n rounds, accuracy as delivered per drafted
token rho, draft and verify seconds a and b, Theorem 1 says R = L / (b n + a L / rho). Its consequence for a large
and a small draft (Theorem 2), derived from that with equal b and c = a / b, is: the large one wins if and only if

    n_s - n_l > L (c_l / rho_l - c_s / rho_s).

The paper prints a special case of it. Since n = L / S and rho = S / gamma with S = (1 - alpha^(gamma+1)) / (1 -
alpha), the expected tokens of a round, R is S / (gamma a + b): the inequality compares, and this policy takes, the
largest

    max over gamma of S(alpha_c, gamma) / (gamma a_c + b(gamma))

where b may grow with gamma. A test holds the two against each other.

From the paper: the features, the linear model, least squares, one decision per request, the estimate of a request's
accuracy (Eq 2) that the model learns from. Our reading: u = 1, log length, log perplexity (0 where it is not known),
hashed TF-IDF (see `TfIdf`). Ours: learning from the requests as they finish instead of from a probing phase, so each
draft is tried once first, and `optimism` times sqrt(u^T (U^T U)^-1 u) is added to what is predicted, so that a draft
is tried again on prompts unlike those it had (LinUCB, Li et al. 2010, https://arxiv.org/abs/1003.0146); the ridge
that makes this work while little is known; plain decoding as a competitor; the price of reading the prompt (see
`catch_up_share_s`); and that a round for which the draft had nothing to propose counts as a refusal, for a draft that
is seldom at hand is not one to choose, however good it is when it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Literal

from pydantic import Field, FiniteFloat

from paceline.core.base_policy import MergeablePolicy
from paceline.core.config.blocks import PolicyConfig
from paceline.core.records import Plan
from paceline.core.state.declared import Count, PolicyState, Summed
from paceline.policies.composition import DraftSelector, available_drafts, tag_plan, untag_round
from paceline.policies.gamma_scan import best_gamma, positive_gammas
from paceline.policies.options import LengthPolicy, MaxGamma
from paceline.policies.prompt_accuracy import Prompts

if TYPE_CHECKING:
    from paceline.core.records import Round, RoundStart

REASONS = frozenset({"trial", "probe"})
"""Reason for giving a request to a draft that does not promise the most."""

TRIALS = 3  # requests that a draft is given to show anything at all; with less it may have lagged too far to be used


class LinearSelectConfig(PolicyConfig):
    """Choose a draft for each request by the prompt's length, perplexity and words; another policy plans gamma."""

    name: Literal["linear-select"] = "linear-select"
    length: LengthPolicy = Field(default="online", validate_default=True)
    max_gamma: MaxGamma = Field(default=16, description="The largest gamma considered when drafts compete.")
    max_accuracy: float = Field(default=0.95, gt=0, lt=1, description="Cap on predicted accuracy (Acc_max).")
    buckets: int = Field(
        default=32, ge=1, le=256, description="Buckets that tokens are hashed into for TF-IDF."
    )
    ridge: FiniteFloat = Field(
        default=1.0,
        ge=1e-6,
        description="How slowly the features are trusted; near 0 is the paper's least squares.",
    )
    optimism: FiniteFloat = Field(
        default=0.1,
        ge=0,
        description="How far accuracies of like prompts scatter; more tries uncertain drafts more, 0 is the paper's.",
    )
    probe_every: int = Field(
        default=8, ge=1, description="Requests decoded plainly before a draft is tried again."
    )

    def build(self, seed: int = 0) -> LinearSelectPolicy:
        """Return a fresh policy."""
        return LinearSelectPolicy(self, seed)


@dataclass(slots=True)
class Request(PolicyState):
    """The request under way: its draft ("" for plain decoding), its prompt's features, and the verdicts so far.

    Attributes:
        active: Whether there is one.
    """

    features: list[float]
    draft: str = ""
    accepted: Count = 0
    refused: Count = 0
    active: bool = False


@dataclass(slots=True)
class LinearSelectState(PolicyState):
    """Knowledge from finished requests, and the request under way.

    Attributes:
        plain: Requests decoded plainly since the last one that was given to a draft.
    """

    known: Summed[Prompts]
    request: Request
    plain: Count = 0


class LinearSelectPolicy(DraftSelector[LinearSelectState], MergeablePolicy[LinearSelectState]):
    """Predicts, chooses, and learns when the request is over."""

    timed = False
    version = 2

    def __init__(self, config: LinearSelectConfig, seed: int = 0) -> None:
        known = Prompts(config.buckets, config.ridge)
        state = LinearSelectState(known, Request([0.0] * known.size))
        super().__init__(
            "linear-select", state, config.length, seed, chooses="request", latency="fused", perplexity=True
        )
        self._config = config

    def refresh(self) -> None:
        """Fit the models anew when they are asked."""
        self.state.known.fits = {}

    def accuracy(self, draft: str, features: list[float]) -> float:
        """Return the accuracy predicted for a draft, within 0..Acc_max; 0 while nothing was seen of it."""
        predicted = self.state.known.predict(draft, features, self._config.optimism)
        return min(max(predicted, 0.0), self._config.max_accuracy)

    def plan(self, start: RoundStart) -> Plan:
        """Choose the draft when a request begins; then its length policy plans each round."""
        reason = None
        request = self.state.request
        if start.index == 0 or not request.active or request.draft not in ("", *start.drafts):
            reason = self._begin(start)
        draft = self.state.request.draft
        if not draft:
            self._lengths.rest()
            return Plan(0, reason=reason)
        plan = self._lengths.plan(start, draft)
        return plan if reason is None else tag_plan(plan, reason)

    def observe(self, done: Round) -> None:
        """Count the verdict; the last round of a request is the moment to learn from it."""
        self._lengths.observe(untag_round(done, REASONS)[1])
        request = self.state.request
        if not request.active:
            return
        if done.plan.gamma:
            nothing_found = done.drafted == 0 and done.ended is None
            request.accepted += done.accepted
            request.refused += done.rejected or nothing_found
        if done.ended is not None:
            self._finish()

    def _begin(self, start: RoundStart) -> str | None:
        """Learn from the request before, and choose the draft of this one; return why, if it is not the best one."""
        self._finish()
        drafts = available_drafts(start, None)
        gammas = start.gammas(self._config.max_gamma)
        if not drafts or gammas[-1] == 0:
            return None
        features = self.state.known.read(start)
        request = self.state.request = Request(features, drafts[0], active=True)
        reason = None
        tried = self.state.known.tried
        new = [
            draft for draft in drafts if not self.state.known.seen(draft) and tried.get(draft, 0.0) < TRIALS
        ]
        if len(drafts) > 1 and new:
            request.draft, reason = min(new, key=lambda draft: tried.get(draft, 0.0)), "trial"
        elif len(drafts) > 1:
            seconds = {draft: self._token_s(start, draft, features) for draft in drafts}
            request.draft = min(drafts, key=seconds.__getitem__)
            plain_s = start.costs.verify_s(1, start.context) if gammas[0] == 0 else math.inf
            if plain_s <= seconds[request.draft]:
                if self.state.plain < self._config.probe_every:
                    self.state.plain += 1
                    request.draft = ""
                    return "plain"
                reason = "probe"
        self.state.plain = 0
        tried[request.draft] = tried.get(request.draft, 0.0) + 1.0
        return reason

    def _token_s(self, start: RoundStart, draft: str, features: list[float]) -> float:
        """Return 1 / R at the best gamma of a draft, with its share of the price of catching up."""
        gammas = positive_gammas(start.gammas(self._config.max_gamma))
        return best_gamma(start, draft, gammas, repeat(self.accuracy(draft, features)), math.inf)[1]

    def _finish(self) -> None:
        """Learn from the request that is over, or was abandoned, if it showed anything (Eq 2)."""
        request, self.state.request = self.state.request, Request([0.0] * self.state.known.size)
        if request.active and request.accepted + request.refused:
            accuracy = request.accepted / (request.accepted + request.refused)
            self.state.known.learn(request.draft, request.features, accuracy)
