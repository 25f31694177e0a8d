"""The price of waking a draft that rested, held against the very round that would wake it.

A draft that rests while a policy plans gamma 0 falls behind, and reads what it missed before it drafts again. Nightjar
(https://arxiv.org/abs/2512.22420) adds that price to the time of a token of the round that wakes the draft,

    1 / g(gamma) + [gamma_before = 0 and gamma > 0] C_switch / gamma,

g being the tokens per second of speculation. So a round of gamma tokens is worth waking the draft for only where

    gamma (s_plain - s_spec) > C_switch,

with s_plain and s_spec the seconds of a token decoded plainly and with drafts. This wrapper asks that of every plan of
the policy it holds that follows a round without drafting, and plans gamma 0 where the answer is no.

From Nightjar: the term, and that it is charged once, to the round that starts again. Our reading: C_switch is the
cost model's time of catching up on the lag, c(1 token, lag) - c(1 token). Ours: s_plain and s_spec are ratios of sums
over recent rounds, what was spent on catching up left out; nothing is held back in the first round of a request, since
every draft has the prompt to read once, nor while one of the two times is unknown; `rounds` spreads the price over more
than one round; and after `patience` rounds held back in a row one goes through, so that a draft whose lag only grows is
not forgotten.

How it differs from `catch_up_share_s`: that spreads the same price over all tokens still wanted, inside policies that
weigh costs. It assumes that a draft, once awake, stays so until the text ends. Here it is assumed that the draft
may be sent to rest again at once, which is right for policies that come and go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from paceline.core.config.blocks import PolicyConfig
from paceline.core.config.resolve import AnyPolicy
from paceline.core.plugins.catalogue import build_policy
from paceline.core.records import Plan
from paceline.core.state.declared import Amount, Count, PolicyState
from paceline.policies.composition import WrapperPolicy
from paceline.policies.options import chosen_draft

if TYPE_CHECKING:
    from paceline.core.protocols import Policy
    from paceline.core.records import Round, RoundStart

FADE = 0.95  # weight of the past, for each round of its kind: about the last twenty count


class RestartCostConfig(PolicyConfig):
    """Let another policy start drafting again only where that pays for what the draft must read first."""

    name: Literal["restart-cost"] = "restart-cost"
    policy: AnyPolicy = Field(default="ucb", description="The policy whose plans are weighed.")  # type: ignore[assignment]
    rounds: int = Field(
        default=1, ge=1, description="Rounds of the planned gamma within which catching up must have paid."
    )
    patience: int = Field(
        default=32, ge=1, description="Rounds held back in a row before one goes through all the same."
    )

    def build(self, seed: int = 0) -> RestartCostPolicy:
        """Return a fresh wrapper around a fresh policy."""
        return RestartCostPolicy(self, build_policy(self.policy, seed))


Times = tuple[Amount, Amount]
"""Tokens, and the seconds they took."""


@dataclass(slots=True)
class RestartCostState(PolicyState):
    """Times of tokens, and the standing of the wrapper.

    Attributes:
        speculating: Of rounds that drafted, without catching up.
        plain: Of rounds of gamma 0.
        rested: Whether the last round drafted nothing.
        refused: Rounds held back in a row.
    """

    speculating: Times = (0.0, 0.0)
    plain: Times = (0.0, 0.0)
    rested: bool = False
    refused: Count = 0


class RestartCostPolicy(WrapperPolicy[RestartCostState]):
    """Plans as the inner policy does, but holds back rounds that would wake a draft for too little.

    Args:
        config: The wrapper's options.
        policy: The inner policy, held by this wrapper alone. It does not see rounds that were held back.
    """

    version = 2

    def __init__(self, config: RestartCostConfig, policy: Policy) -> None:
        state = RestartCostState()
        super().__init__("restart-cost", state, policy, zero_gamma=True, latency="split", immediate=True)
        self._options = config
        self._handed_on = False  # whether this round goes as the inner policy planned it
        self._catch_up_s = 0.0  # seconds of catching up in this round, as far as known

    def plan(self, start: RoundStart) -> Plan:
        """Let the inner policy plan, and hold the plan back where waking its draft does not pay."""
        plan = self.inner.plan(start)
        self._handed_on = True
        self._catch_up_s = 0.0
        draft = chosen_draft(start, plan.draft)
        if plan.gamma == 0 or draft is None:
            return plan
        asleep_s = start.costs.draft_s(draft, 1, start.drafts[draft].lag)
        self._catch_up_s = max(asleep_s - start.costs.draft_s(draft, 1), 0.0)
        if not self.state.rested or start.index == 0 or self.state.refused >= self._options.patience:
            return plan
        if self._worth_it(min(plan.gamma * self._options.rounds, start.budget + 1)):
            return plan
        self._handed_on = False
        return Plan(0, reason="restart-cost")

    def observe(self, done: Round) -> None:
        """Learn how long a token takes, and show the inner policy its own rounds.

        The time of a round that was ended is not learnt from, since the tokens past the cut are missing.
        """
        if self._handed_on:
            self.inner.observe(done)
            self.state.refused = 0 if done.drafted else self.state.refused
        else:
            self.state.refused += 1
        self.state.rested = done.drafted == 0
        if done.ended is None and done.drafted:
            spent_s = done.total_s - min(self._catch_up_s, done.draft_s)
            self.state.speculating = _faded(self.state.speculating, done.emitted, spent_s)
        elif done.ended is None and done.plan.gamma == 0:
            self.state.plain = _faded(self.state.plain, done.emitted, done.total_s)

    def _worth_it(self, tokens: int) -> bool:
        """Tell whether the time that so many tokens save is more than catching up takes, or nothing is known of it."""
        if not self.state.speculating[0] or not self.state.plain[0]:
            return True
        saved_s = (
            self.state.plain[1] / self.state.plain[0] - self.state.speculating[1] / self.state.speculating[0]
        )
        return self._catch_up_s <= 0.0 or tokens * saved_s > self._catch_up_s


def _faded(sums: Times, tokens: int, seconds: float) -> Times:
    return FADE * sums[0] + tokens, FADE * sums[1] + seconds
