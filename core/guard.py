"""The boundary where a policy's answers are checked, so that the loop may trust them.

A breach raises `ContractError` naming the policy's class. With `fallback` it is logged instead, and the request goes
on with gamma 0: a policy can cost speed, never tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from paceline.core.errors import CapabilityError, ContractError
from paceline.core.finish import name_draft
from paceline.core.records import Plan, Requirements, RoundStart, Signal, StopRule, TokenSignals

if TYPE_CHECKING:
    from paceline.core.protocols import Draft, Policy
    from paceline.core.records import Capabilities, Round

log = structlog.get_logger()

PLAIN = Plan(gamma=0, reason="fallback")


@dataclass(frozen=True, slots=True)
class PlannedWatch:
    """What the planned draft looks at this round; the loop's `Watch`."""

    signals: frozenset[Signal]
    stop: StopRule | None
    keep: Callable[[TokenSignals], bool] | None


def check_fit(policy: Policy, capabilities: Capabilities, drafts: Mapping[str, Draft]) -> None:
    """Refuse a policy that this engine cannot serve.

    Raises:
        CapabilityError: Lists everything that does not fit.
    """
    needs: Requirements = policy.requires
    detail = {"none": 0, "fused": 1, "split": 2}
    often = {"none": 0, "request": 1, "round": 2}
    problems = [
        sentence
        for wrong, sentence in (
            (
                needs.any_gamma and not _without_gaps(capabilities.gammas),
                f"it plans any gamma, the engine only {capabilities.gammas}; let it choose from start.gammas(limit)",
            ),
            (
                needs.zero_gamma and not capabilities.zero_gamma,
                "it plans rounds without drafting, the engine cannot",
            ),
            (
                len(drafts) > 1 and often[needs.draft_switch] > often[capabilities.draft_switch],
                f"it changes drafts between {needs.draft_switch}s, the engine "
                + ("never" if capabilities.draft_switch == "none" else "between requests only"),
            ),
            (
                detail[needs.latency] > detail[capabilities.latency],
                f"it learns from {needs.latency} latencies, the engine reports {capabilities.latency}",
            ),
            (
                needs.immediate and capabilities.action_delay > 0,
                f"its decisions must act at once, here they act {capabilities.action_delay} rounds later",
            ),
        )
        if wrong
    ]
    problems += _unheard(needs, capabilities, drafts)
    if problems:
        raise CapabilityError(f"policy {blame(policy)} does not fit this engine: {'; '.join(problems)}")


def _without_gaps(gammas: tuple[int, ...] | None) -> bool:
    """Tell whether an engine runs every gamma up to its largest."""
    return gammas is None or {*range(1, max(gammas, default=0) + 1)} <= {*gammas}


def _unheard(needs: Requirements, capabilities: Capabilities, drafts: Mapping[str, Draft]) -> list[str]:
    """Return a sentence for each draft that may be planned and does not deliver what drafting is stopped by."""
    problems = []
    planned = list(drafts) if needs.draft_switch != "none" else list(drafts)[:1]
    if needs.draft is not None:
        planned = [needs.draft]
    for name, draft in drafts.items():
        missing = needs.signals - (draft.signals & capabilities.signals)
        if missing and name in planned:
            problems.append(
                f"it stops drafting by {', '.join(sorted(missing))}, which the draft {name!r} does not deliver here "
                "(leave that draft out, list another one first, or name it in the policy's option `draft`)"
            )
    return problems


def blame(culprit: object) -> str:
    """Return the name by which errors call a policy, draft or target: its class and module."""
    return f"{type(culprit).__qualname__} ({type(culprit).__module__})"


class PolicyGuard:
    """One policy during one request, its answers checked."""

    def __init__(self, policy: Policy, drafts: Mapping[str, Draft], *, fallback: bool) -> None:
        self._policy = policy
        self._drafts = drafts
        self._fallback = fallback
        self.failed = False

    def plan(self, start: RoundStart) -> Plan:
        """Return the policy's plan with its draft's name filled in, or gamma 0 once the policy has failed."""
        if self.failed:
            return PLAIN
        try:
            return self._checked(self._policy.plan(start), start)
        except Exception as error:  # noqa: BLE001 - whatever a policy raises is blamed on it
            self._blame("plan", error)
            return PLAIN

    def watch(self, plan: Plan) -> PlannedWatch | None:
        """Return what the planned draft must look at, or None when there is nothing to look at."""
        delivers = self._drafts[plan.draft].signals if plan.draft is not None else frozenset()
        wanted = self._policy.needs & delivers if plan.look else frozenset()
        keep = self._keep if wanted else None
        if plan.stop is not None:
            wanted |= {plan.stop.signal}
        return PlannedWatch(wanted, plan.stop, keep) if wanted else None

    def observe(self, done: Round) -> None:
        """Show the policy a finished round."""
        if self.failed:
            return
        try:
            self._policy.observe(done)
        except Exception as error:  # noqa: BLE001 - whatever a policy raises is blamed on it
            self._blame("observe", error)

    def _keep(self, signals: TokenSignals) -> bool:
        if self.failed:
            return False
        try:
            return bool(self._policy.keep(signals))
        except Exception as error:  # noqa: BLE001 - whatever a policy raises is blamed on it
            self._blame("keep", error)
            return False

    def _blame(self, method: str, error: Exception) -> None:
        breach = error if isinstance(error, ContractError) else self._breach(f"{method}() raised {error!r}")
        if not self._fallback:
            raise breach from (None if breach is error else error)
        self.failed = True
        log.warning(
            "policy_failed",
            policy=blame(self._policy),
            error=str(breach),
            action="gamma 0 until the request ends",
        )

    def _breach(self, message: str) -> ContractError:
        return ContractError(f"policy {blame(self._policy)}", message)

    def _checked(self, plan: object, start: RoundStart) -> Plan:
        if not isinstance(plan, Plan):
            raise self._breach(f"plan() must return a Plan, found {plan!r}")
        gamma = plan.gamma
        if not isinstance(gamma, int) or isinstance(gamma, bool):
            raise self._breach(f"gamma must be an int, found {gamma!r}")
        if not 0 <= gamma <= start.budget:
            raise self._breach(f"gamma must be between 0 and the budget of {start.budget}, found {gamma}")
        if not isinstance(plan.score, frozenset) or not plan.score <= self._drafts.keys():
            raise self._breach(f"score must be a frozenset of drafts, found {plan.score!r}")
        allowed = start.capabilities.gammas
        if allowed is not None and gamma not in allowed and gamma > 0:
            raise self._breach(
                f"this engine runs gamma {', '.join(map(str, allowed))}, found {gamma}; choose from start.gammas(limit)"
            )
        if gamma == 0:
            able = (1,) if allowed is None else allowed
            if not start.capabilities.zero_gamma and any(0 < g <= start.budget for g in able):
                raise self._breach("this engine cannot plan gamma 0")
            return name_draft(plan, self._drafts)
        plan = name_draft(plan, self._drafts)
        name = plan.draft
        if name is None or name not in self._drafts:
            known = ", ".join(map(repr, self._drafts)) or "none at all"
            raise self._breach(f"there is no draft {name!r}; the drafts are {known}")
        if plan.stop is not None and (
            not isinstance(plan.stop, StopRule) or plan.stop.signal not in self._drafts[name].signals
        ):
            raise self._breach(f"draft {name!r} cannot evaluate the stop rule {plan.stop!r}")
        return plan
