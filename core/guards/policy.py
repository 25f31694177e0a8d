"""The boundary where a policy is checked and its answers are too, so that the loop may trust them.

`plan` and `observe` must be there. A policy without `needs` looks at nothing, without `requires` it runs on every
engine, without `keep_drafting` it never stops drafting, and without `state_dict` and `load_state_dict` nothing of it
is kept.

A breach raises `ContractError` naming the policy's class. With `fallback` it is logged instead, and the request goes
on with gamma 0: a policy can cost speed, never tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from paceline.core.errors import (
    INTERRUPTS,
    CapabilityError,
    ContractError,
    PacelineError,
    answered,
    defined_at,
    describe,
    error_text,
    raised_at,
    short_repr,
)
from paceline.core.generation import Failure
from paceline.core.guards.plan import flaw
from paceline.core.log import log
from paceline.core.proposals import DraftControl
from paceline.core.records import SIGNALS, Plan, Requirements, name_draft

if TYPE_CHECKING:
    from paceline.core.protocols import Draft, Policy
    from paceline.core.records import Capabilities, Round, RoundStart, Signal, TokenSignals


T = TypeVar("T")

MANDATORY = ("plan", "observe")
OPTIONAL = ("keep_drafting", "state_dict", "load_state_dict")
NO_SIGNALS: frozenset[Signal] = frozenset()
NO_REQUIREMENTS = Requirements()
FALLBACK_PLAN = Plan(gamma=0, reason="fallback")
UNPLANNED: Final = ...
"""Stands for the plan of a policy that has not been asked yet."""


def check_members(policy: object) -> None:
    """Check that a policy has what it needs, and that what it declares is what it may declare.

    Raises:
        ContractError: Names the policy's class and the member.
    """
    for name in MANDATORY:
        if not has_member(policy, name):
            raise breach(
                policy,
                f"it has no {name}(); a policy needs plan() and observe(), see docs/writing-a-policy.md",
            )
    for name in (*MANDATORY, *OPTIONAL):
        if not callable(member := _declared(policy, name, callable)):
            raise breach(policy, f"`{name}` must be a method, found {short_repr(member)}")
    needs = _declared(policy, "needs", NO_SIGNALS)
    if not isinstance(needs, frozenset) or not needs <= SIGNALS:
        raise breach(
            policy, f"`needs` must be a frozenset of {', '.join(sorted(SIGNALS))}; found {short_repr(needs)}"
        )
    requires = _declared(policy, "requires", NO_REQUIREMENTS)
    if not isinstance(requires, Requirements):
        raise breach(policy, f"`requires` must be a Requirements, found {short_repr(requires)}")


def _declared(policy: object, name: str, default: object) -> object:
    """Return a member of a policy, or what stands for one that is left out."""
    if not has_member(policy, name):
        return default
    try:
        return getattr(policy, name)
    except INTERRUPTS:
        raise
    except BaseException as error:
        raise breach(policy, f"asked for `{name}`, it raised {short_repr(error)}") from error


def has_member(policy: object, name: str) -> bool:
    """Tell whether a policy has a member; a property that raises counts as one that is there."""
    return hasattr(type(policy), name) or hasattr(policy, name)


def needs_of(policy: Policy) -> frozenset[Signal]:
    """Return the signals that a policy wants after each draft token."""
    return policy.needs if has_member(policy, "needs") else NO_SIGNALS


def requires_of(policy: Policy) -> Requirements:
    """Return what a policy cannot do without."""
    return policy.requires if has_member(policy, "requires") else NO_REQUIREMENTS


def ask_keep_drafting(policy: Policy, signals: TokenSignals) -> bool:
    """Ask a policy whether to draft another token."""
    return policy.keep_drafting(signals) if has_member(policy, "keep_drafting") else True


def state_of(policy: Policy) -> dict[str, Any]:
    """Return what a policy has learnt; nothing where it keeps nothing."""
    return policy.state_dict() if has_member(policy, "state_dict") else {}


def load_state(policy: Policy, state: Mapping[str, Any]) -> None:
    """Give a policy what was learnt before.

    Raises:
        ValueError: It does not take it, or keeps nothing at all.
    """
    if has_member(policy, "load_state_dict"):
        policy.load_state_dict(state)
    elif state:
        raise ValueError(f"{describe(policy)} has no load_state_dict(), so it takes over nothing")


def breach(policy: object, message: str, place: str | None = None) -> ContractError:
    """Return the error that blames a policy, and names the place in its code, where there is one."""
    return ContractError(f"policy {describe(policy)}", message if place is None else f"{message} [{place}]")


def check_plan(policy: Policy, plan: object, start: RoundStart, drafts: Mapping[str, Draft]) -> Plan:
    """Return the plan of a round with its draft's name filled in.

    Raises:
        ContractError: This engine cannot run it in this round; names the policy, and where its `plan` stands.
    """
    problem = flaw(plan, start, drafts)
    if problem is not None:
        raise breach(policy, problem, defined_at(getattr(type(policy), "plan", None)))
    assert isinstance(plan, Plan)
    return name_draft(plan, drafts)


class PlainDecoding:
    """The policy that stands in, under `fallback`, for one that could not be made; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure

    def plan(self, start: RoundStart) -> Plan:
        """Plan no drafting."""
        return FALLBACK_PLAN

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
        ours = isinstance(error, PacelineError)
        reason = error_text(error) if ours else f"asked for a policy, it raised {short_repr(error)}"
        place = raised_at(error)
        if not fallback:
            if ours:
                raise
            raise breach(culprit, reason, place) from error
        return PlainDecoding(_failed(culprit, None, reason, place, "plain decoding"))  # type: ignore[return-value]  # what it lacks has a default
    return policy


def _failed(policy: object, index: int | None, error: str, place: str | None, action: str) -> Failure:
    name = describe(policy)
    log.warning("policy_failed", policy=name, round=index, error=error, place=place, action=action)
    return Failure(f"policy {name}", index, error, place, action)


def check_fit(policy: Policy, capabilities: Capabilities, drafts: Mapping[str, Draft]) -> None:
    """Refuse a policy that this engine cannot serve.

    Raises:
        CapabilityError: Lists everything that does not fit.
    """
    if problems := [*_misfits(requires_of(policy), capabilities, drafts)]:
        raise CapabilityError(f"policy {describe(policy)} does not fit this engine: {'; '.join(problems)}")


def _misfits(needs: Requirements, capabilities: Capabilities, drafts: Mapping[str, Draft]) -> Iterator[str]:
    """Yield a sentence for each thing that a policy cannot do without and does not get."""
    detail, often = ("none", "fused", "split"), ("none", "request", "round")
    gammas = capabilities.gammas
    if needs.any_gamma and gammas is not None and not {*range(1, max(gammas, default=0) + 1)} <= {*gammas}:
        yield f"it plans any gamma, the engine only {gammas}; let it choose from start.gammas(limit)"
    if needs.zero_gamma and not capabilities.zero_gamma:
        yield "it plans rounds without drafting, the engine cannot"
    switch = capabilities.draft_switch
    if len(drafts) > 1 and often.index(needs.draft_switch) > often.index(switch):
        when = "never" if switch == "none" else "between requests only"
        yield f"it changes drafts between {needs.draft_switch}s, the engine {when}"
    if detail.index(needs.latency) > detail.index(capabilities.latency):
        yield f"it learns from {needs.latency} latencies, the engine reports {capabilities.latency}"
    if needs.immediate and capabilities.action_delay > 0:
        yield f"its decisions must act at once, here they act {capabilities.action_delay} rounds later"
    planned = list(drafts) if needs.draft_switch != "none" else list(drafts)[:1]
    if needs.draft is not None:
        planned = [needs.draft]
    for name, draft in drafts.items():
        missing = needs.signals - (draft.signals & capabilities.signals)
        if missing and name in planned:
            yield (
                f"it stops drafting by {', '.join(sorted(missing))}, which the draft {name!r} does not deliver here "
                "(leave that draft out, list another one first, or name it in the policy's option `draft`)"
            )


class PolicyGuard:
    """One policy during one request, its answers checked."""

    def __init__(self, policy: Policy, drafts: Mapping[str, Draft], *, fallback: bool) -> None:
        self.policy = policy
        self._drafts = drafts
        self._fallback = fallback
        self._pending: ContractError | None = None
        self._round = 0
        self.failure: Failure | None = None

    def plan(self, start: RoundStart, answer: object = UNPLANNED) -> Plan:
        """Return the policy's plan with its draft's name filled in, or gamma 0 once the policy has failed.

        Args:
            start: The state of the request.
            answer: What the policy answered or raised, where it planned for several requests together.
        """
        self._round = start.index
        return self._ask("plan", self._planned, FALLBACK_PLAN, start, answer)

    def control(self, plan: Plan) -> DraftControl | None:
        """Return what the planned draft must look at, or None when there is nothing to look at."""
        if not plan.use_signals and plan.stop is None:
            return None
        signals = self._ask("needs", self._needed, NO_SIGNALS, plan)
        if not signals and plan.stop is None:
            return None
        keep_drafting = self._keep_drafting if signals and has_member(self.policy, "keep_drafting") else None
        if plan.stop is not None:
            signals |= {plan.stop.signal}
        return DraftControl(signals, plan.stop, keep_drafting)

    def settle(self) -> None:
        """Raise what went wrong in `keep_drafting`; called once the draft has returned, so that it sees no error."""
        if self._pending is not None:
            raise self._pending

    def observe(self, done: Round) -> None:
        """Show the policy a finished round."""
        self._ask("observe", self.policy.observe, None, done)

    def _needed(self, plan: Plan) -> frozenset[Signal]:
        if plan.draft is None or not plan.use_signals:
            return NO_SIGNALS
        return needs_of(self.policy) & self._drafts[plan.draft].signals

    def _keep_drafting(self, signals: TokenSignals) -> bool:
        try:
            return self._ask("keep_drafting", self._keeps_drafting, False, signals)
        except ContractError as error:
            self._pending = error
            return False

    def _keeps_drafting(self, signals: TokenSignals) -> bool:
        return bool(self.policy.keep_drafting(signals))

    def _ask(self, method: str, ask: Callable[..., T], otherwise: T, *about: object) -> T:
        """Return what the policy answers; once it has failed, what stands for an answer."""
        if self.failure is not None:
            return otherwise
        try:
            return ask(*about)
        except INTERRUPTS:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it raises is blamed on it
            self._blame(method, error)
            return otherwise

    def _blame(self, method: str, error: BaseException) -> None:
        ours = isinstance(error, ContractError)
        if ours and not self._fallback:
            raise error
        place = raised_at(error) or defined_at(getattr(type(self.policy), method, None))
        reason = error_text(error) if ours else f"{method}() raised {short_repr(error)}"
        if not self._fallback:
            raise breach(self.policy, reason, place) from error
        self.failure = _failed(self.policy, self._round, reason, place, "gamma 0 until the request ends")

    def _planned(self, start: RoundStart, answer: object) -> Plan:
        plan = self.policy.plan(start) if answer is UNPLANNED else answered(answer)
        return check_plan(self.policy, plan, start, self._drafts)
