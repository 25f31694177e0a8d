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

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from paceline.core.config.blocks import PolicyConfig
from paceline.core.config.resolve import AnyPolicy
from paceline.core.guards.policy import keeps, needs_of, state_of, take_over
from paceline.core.plugins.catalogue import build_policy
from paceline.core.records import Plan
from paceline.policies.composition import joint_requirements
from paceline.policies.gamma_scan import chosen_draft
from paceline.policies.state import check_count, check_header, check_list

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.core.protocols import Policy
    from paceline.core.records import Requirements, Round, RoundStart, Signal, TokenSignals

VERSION = 1
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


class RestartCostPolicy:
    """Plans as the inner policy does, but holds back rounds that would wake a draft for too little.

    Args:
        config: The wrapper's options.
        policy: The inner policy, held by this wrapper alone. It does not see rounds that were held back.
    """

    def __init__(self, config: RestartCostConfig, policy: Policy) -> None:
        self._options = config
        self._policy = policy
        self._spec = (0.0, 0.0)  # tokens, and seconds without catching up, of rounds that drafted
        self._plain = (0.0, 0.0)  # tokens and seconds of rounds of gamma 0
        self._rested = False  # whether the last round drafted nothing
        self._refused = 0  # rounds held back in a row
        self._asked = False  # whether this round goes as the inner policy planned it
        self._toll_s = 0.0  # seconds of catching up in this round, as far as known

    @property
    def needs(self) -> frozenset[Signal]:
        """The signals that the inner policy wants."""
        return needs_of(self._policy)

    @property
    def requires(self) -> Requirements:
        """Requirements of the inner policy, rounds without drafting, their times in two parts, and no delay."""
        return joint_requirements((self._policy,), zero_gamma=True, latency="split", immediate=True)

    def plan(self, start: RoundStart) -> Plan:
        """Let the inner policy plan, and hold the plan back where waking its draft does not pay."""
        plan = self._policy.plan(start)
        self._asked = True
        self._toll_s = 0.0
        draft = chosen_draft(start, plan.draft)
        if plan.gamma == 0 or draft is None:
            return plan
        asleep_s = start.costs.draft_s(draft, 1, start.drafts[draft].lag)
        self._toll_s = max(asleep_s - start.costs.draft_s(draft, 1), 0.0)
        if not self._rested or start.index == 0 or self._refused >= self._options.patience:
            return plan
        if self._pays(min(plan.gamma * self._options.rounds, start.budget + 1)):
            return plan
        self._asked = False
        return Plan(0, reason="restart-cost")

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Ask the inner policy, which planned this round if anything was drafted."""
        return keeps(self._policy, signals)

    def observe(self, done: Round) -> None:
        """Learn how long a token takes, and show the inner policy its own rounds.

        The time of a round that was ended is not learnt from, since the tokens past the cut are missing.
        """
        if self._asked:
            self._policy.observe(done)
            self._refused = 0 if done.drafted else self._refused
        else:
            self._refused += 1
        self._rested = done.drafted == 0
        if done.ended is None and done.drafted:
            spent_s = done.total_s - min(self._toll_s, done.draft_s)
            self._spec = _faded(self._spec, done.emitted, spent_s)
        elif done.ended is None and done.plan.gamma == 0:
            self._plain = _faded(self._plain, done.emitted, done.total_s)

    def state_dict(self) -> dict[str, Any]:
        """Return the times of a token, where the wrapper stands, and the state of the inner policy."""
        return {
            "policy": "restart-cost",
            "version": VERSION,
            "speculating": list(self._spec),
            "plain": list(self._plain),
            "rested": self._rested,
            "refused": self._refused,
            "inner": state_of(self._policy),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over everything.

        Raises:
            ValueError: The state is damaged, or of another policy or version, or the inner policy refuses its part;
                nothing is changed.
        """
        check_header(state, "restart-cost", VERSION)
        rested, inner = state.get("rested"), state.get("inner")
        if not isinstance(rested, bool) or not isinstance(inner, dict):
            raise ValueError("the saved state is damaged: rested or inner is not what restart-cost writes")  # noqa: TRY004 - callers are promised ValueError
        spec, plain = (_read(state.get(key), key) for key in ("speculating", "plain"))
        refused = int(check_count(state.get("refused"), "refused", whole=True))
        take_over(self._policy, inner)
        self._spec, self._plain, self._rested, self._refused = spec, plain, rested, refused

    def _pays(self, tokens: int) -> bool:
        """Tell whether the time that so many tokens save is more than catching up takes, or nothing is known of it."""
        if not self._spec[0] or not self._plain[0]:
            return True
        saved_s = self._plain[1] / self._plain[0] - self._spec[1] / self._spec[0]
        return self._toll_s <= 0.0 or tokens * saved_s > self._toll_s


def _faded(sums: tuple[float, float], tokens: int, seconds: float) -> tuple[float, float]:
    return FADE * sums[0] + tokens, FADE * sums[1] + seconds


def _read(saved: object, what: str) -> tuple[float, float]:
    tokens, seconds = check_list(saved, what, length=2)
    return (
        float(check_count(tokens, f"the tokens of {what}")),
        float(check_count(seconds, f"the seconds of {what}")),
    )
