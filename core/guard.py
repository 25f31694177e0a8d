"""The boundary where a policy's answers are checked, so that the loop may trust them.

A breach raises `ContractError` naming the policy's class. With `fallback` it is logged instead, and the request goes
on with gamma 0: a policy can cost speed, never tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, TypeVar

import structlog

from paceline.core.blame import INTERRUPTS, blame, shown, words
from paceline.core.errors import CapabilityError, ContractError, PacelineError
from paceline.core.finish import name_draft
from paceline.core.members import NOTHING, breach, check_members, has, needs_of, requires_of
from paceline.core.records import Plan, Requirements, RoundStart, Signal, StopRule, TokenSignals

if TYPE_CHECKING:
    from paceline.core.protocols import Draft, Policy
    from paceline.core.records import Capabilities, Round

log = structlog.get_logger()

T = TypeVar("T")

PLAIN = Plan(gamma=0, reason="fallback")

LONGEST_REASON = 100
"""Characters of `Plan.reason`, which is a word for a live line and a trace."""


@dataclass(frozen=True, slots=True)
class PlannedControl:
    """What the planned draft looks at this round; the loop's `DraftControl`."""

    signals: frozenset[Signal]
    stop: StopRule | None
    keep_drafting: Callable[[TokenSignals], bool] | None


class PlainDecoding:
    """The policy that stands in, under `fallback`, for one that could not be made."""

    def plan(self, start: RoundStart) -> Plan:
        """Plan no drafting."""
        return PLAIN

    def observe(self, done: Round) -> None:
        """Learn nothing."""


def admit(make: Callable[[], Policy], fits: Callable[[Policy], None], *, fallback: bool) -> Policy:
    """Return the policy that `make` gives, looked over; under `fallback` plain decoding in the place of a broken one.

    Raises:
        ContractError: It could not be made, or lacks a member; names its class.
        CapabilityError: From `fits`: the policy does not fit the engine.
    """
    culprit: object = make
    try:
        culprit = policy = make()
        check_members(policy)
        fits(policy)
    except (*INTERRUPTS, CapabilityError):
        raise
    except BaseException as error:
        told = isinstance(error, PacelineError)
        reason = words(error) if told else f"asked for a policy, it raised {shown(error)}"
        if not fallback:
            if told:
                raise
            raise breach(culprit, reason) from error
        log.warning("policy_failed", policy=blame(culprit), error=reason, action="plain decoding")
        return PlainDecoding()  # type: ignore[return-value]  # what it lacks has a default
    return policy


def check_fit(policy: Policy, capabilities: Capabilities, drafts: Mapping[str, Draft]) -> None:
    """Refuse a policy that this engine cannot serve.

    Raises:
        CapabilityError: Lists everything that does not fit.
    """
    needs: Requirements = requires_of(policy)
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


class PolicyGuard:
    """One policy during one request, its answers checked."""

    def __init__(self, policy: Policy, drafts: Mapping[str, Draft], *, fallback: bool) -> None:
        self._policy = policy
        self._drafts = drafts
        self._fallback = fallback
        self._pending: ContractError | None = None
        self.failed = False

    def plan(self, start: RoundStart) -> Plan:
        """Return the policy's plan with its draft's name filled in, or gamma 0 once the policy has failed."""
        if self.failed:
            return PLAIN
        try:
            return self._checked(self._policy.plan(start), start)
        except INTERRUPTS:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it raises is blamed on it
            self._blame("plan", error)
            return PLAIN

    def control(self, plan: Plan) -> PlannedControl | None:
        """Return what the planned draft must look at, or None when there is nothing to look at."""
        wanted = self._ask("needs", self._wanted, NOTHING, plan)
        keep_drafting = self._keep_drafting if wanted and has(self._policy, "keep_drafting") else None
        if plan.stop is not None:
            wanted |= {plan.stop.signal}
        return PlannedControl(wanted, plan.stop, keep_drafting) if wanted else None

    def settle(self) -> None:
        """Raise what went wrong in `keep_drafting`; called once the draft has returned, so that it sees no error."""
        if self._pending is not None:
            raise self._pending

    def observe(self, done: Round) -> None:
        """Show the policy a finished round."""
        if self.failed:
            return
        try:
            self._policy.observe(done)
        except INTERRUPTS:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it raises is blamed on it
            self._blame("observe", error)

    def _wanted(self, plan: Plan) -> frozenset[Signal]:
        if plan.draft is None or not plan.use_signals:
            return NOTHING
        return needs_of(self._policy) & self._drafts[plan.draft].signals

    def _keep_drafting(self, signals: TokenSignals) -> bool:
        try:
            return self._ask("keep_drafting", self._asked, False, signals)
        except ContractError as error:
            self._pending = error
            return False

    def _asked(self, signals: TokenSignals) -> bool:
        return bool(self._policy.keep_drafting(signals))

    def _ask(self, method: str, ask: Callable[..., T], otherwise: T, about: object) -> T:
        """Return what the policy answers; once it has failed, what stands for an answer."""
        if self.failed:
            return otherwise
        try:
            return ask(about)
        except INTERRUPTS:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it raises is blamed on it
            self._blame(method, error)
            return otherwise

    def _blame(self, method: str, error: BaseException) -> None:
        self.failed = True
        told = isinstance(error, ContractError)
        reason = words(error) if told else f"{method}() raised {shown(error)}"
        if not self._fallback:
            if told:
                raise error
            raise self._breach(reason) from error
        log.warning(
            "policy_failed", policy=blame(self._policy), error=reason, action="gamma 0 until the request ends"
        )

    def _breach(self, message: str) -> ContractError:
        return breach(self._policy, message)

    def _checked(self, plan: object, start: RoundStart) -> Plan:
        if not isinstance(plan, Plan):
            raise self._breach(f"plan() must return a Plan, found {shown(plan)}")
        gamma = plan.gamma
        if not isinstance(gamma, int) or isinstance(gamma, bool):
            raise self._breach(f"gamma must be an int, found {shown(gamma)}")
        if not 0 <= gamma <= start.budget:
            raise self._breach(
                f"gamma must be between 0 and the budget of {start.budget}, found {shown(gamma)}"
            )
        score = plan.score
        if not isinstance(score, frozenset) or (score and not score <= self._drafts.keys()):
            raise self._breach(f"score must be a frozenset of drafts, found {shown(plan.score)}")
        self._check_words(plan)
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
            raise self._breach(f"there is no draft {shown(name)}; the drafts are {known}")
        if plan.stop is not None:
            self._check_stop(name, plan.stop)
        return plan

    def _check_words(self, plan: Plan) -> None:
        draft: object = plan.draft
        if draft is not None and not isinstance(draft, str):
            raise self._breach(f"draft must be the name of a draft or None, found {shown(draft)}")
        reason: object = plan.reason
        if reason is not None and not (isinstance(reason, str) and len(reason) <= LONGEST_REASON):
            raise self._breach(
                f"reason must be None or text of at most {LONGEST_REASON} characters, found {shown(reason)}"
            )
        if not isinstance(plan.use_signals, bool):
            raise self._breach(f"use_signals must be True or False, found {shown(plan.use_signals)}")

    def _check_stop(self, draft: str, stop: object) -> None:
        if not isinstance(stop, StopRule) or stop.signal not in self._drafts[draft].signals:
            raise self._breach(f"draft {draft!r} cannot evaluate the stop rule {shown(stop)}")
        bound: object = stop.below if stop.below is not None else stop.above
        if not isinstance(bound, int | float) or not isfinite(bound):
            raise self._breach(f"a stop rule needs a threshold that is a finite number, found {shown(bound)}")
